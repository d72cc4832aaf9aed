//! Links with real sockets. What takes time has generous bounds: the machine may be busy.
#![allow(clippy::cast_precision_loss)] // No count here comes near 2^53.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use synod_link::{Line, Link, Links, Side};

/// What is late on a busy machine.
const BUSY: Duration = Duration::from_millis(300);

/// When everything has long happened.
const SOON: Duration = Duration::from_secs(20);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn line(delay_ms: u64, bytes_per_second: Option<u64>) -> Line {
    Line { delay: ms(delay_ms), bytes_per_second }
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

fn dial(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream.set_write_timeout(Some(SOON)).unwrap();
    stream
}

/// Both ends of a connection through the link: of the dialer on the left, and of the one on the right.
fn connect(link: &Link) -> (TcpStream, TcpStream) {
    let (listener, target) = listener();
    let left = dial(link.open(Side::Left, target).unwrap());
    let (right, _) = listener.accept().unwrap();
    right.set_nodelay(true).unwrap();
    right.set_read_timeout(Some(SOON)).unwrap();
    right.set_write_timeout(Some(SOON)).unwrap();
    (left, right)
}

/// Sends zeros, until the connection ends.
fn flood(mut stream: TcpStream) {
    thread::spawn(move || while stream.write_all(&[0; 16 << 10]).is_ok() {});
}

/// How many bytes arrive within this time.
fn arrived(stream: &mut TcpStream, time: Duration) -> u64 {
    let (began, mut count, mut buffer) = (Instant::now(), 0, vec![0; 256 << 10]);
    while began.elapsed() < time {
        count += stream.read(&mut buffer).unwrap() as u64;
    }
    count
}

fn exchange(from: &mut TcpStream, to: &mut TcpStream) -> Duration {
    let began = Instant::now();
    from.write_all(&[7]).unwrap();
    to.read_exact(&mut [0]).unwrap();
    began.elapsed()
}

fn is_silent(stream: &mut TcpStream, time: Duration) -> bool {
    stream.set_read_timeout(Some(time)).unwrap();
    let read = stream.read(&mut [0]);
    stream.set_read_timeout(Some(SOON)).unwrap();
    read.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

#[test]
fn each_direction_has_its_delay_to_about_a_millisecond() {
    let links = Links::start().unwrap();
    let link = links.link(line(10, None));
    link.set_line(Side::Right, line(70, None));
    let (mut left, mut right) = connect(&link);
    let mut medians = Vec::new();
    for _ in 0..2 {
        let mut took: Vec<_> = (0..15).map(|_| exchange(&mut left, &mut right)).collect();
        took.sort();
        // Never earlier by more than the half millisecond that a timer is late on average.
        assert!(took[0] >= ms(9), "{took:?}");
        medians.push(took[7]);
    }
    let there = medians.into_iter().min().unwrap();
    assert!(there <= ms(13), "{there:?}");
    let mut took: Vec<_> = (0..15).map(|_| exchange(&mut right, &mut left)).collect();
    took.sort();
    assert!(took[0] >= ms(69) && took[7] <= ms(73), "{took:?}");
}

#[test]
fn a_connection_takes_a_round_trip_until_it_carries_bytes() {
    let links = Links::start().unwrap();
    let link = links.link(line(50, None));
    let (listener, target) = listener();
    let door = link.open(Side::Left, target).unwrap();
    let began = Instant::now();
    let mut left = dial(door);
    left.write_all(&[7]).unwrap();
    let (mut right, _) = listener.accept().unwrap();
    assert!(began.elapsed() >= ms(49), "{:?}", began.elapsed());
    right.read_exact(&mut [0]).unwrap();
    let took = began.elapsed();
    assert!(took >= ms(149) && took < ms(150) + BUSY, "{took:?}");
}

#[test]
fn the_rate_is_kept_and_nearly_reached() {
    let links = Links::start().unwrap();
    for (rate, delay_ms) in [(1_000_000, 0), (3_000_000, 100), (10_000_000, 150)] {
        let link = links.link(line(delay_ms, Some(rate)));
        let (left, mut right) = connect(&link);
        flood(left);
        arrived(&mut right, ms(300));
        let (before, began) = (link.carried_bytes(Side::Left), Instant::now());
        let count = arrived(&mut right, ms(1000));
        let most = rate as f64 * began.elapsed().as_secs_f64();
        let share = count as f64 / most;
        assert!((0.9..=1.07).contains(&share), "{share} of {rate} with {delay_ms} ms");
        let share = (link.carried_bytes(Side::Left) - before) as f64 / most;
        assert!((0.9..=1.07).contains(&share), "{share} of {rate} was counted");
        assert_eq!(link.carried_bytes(Side::Right), 0);
    }
}

#[test]
fn fifty_megabytes_a_second_pass_at_a_round_trip_of_300_ms() {
    let links = Links::start().unwrap();
    let link = links.link(line(150, Some(60_000_000)));
    let (left, mut right) = connect(&link);
    flood(left);
    arrived(&mut right, ms(500));
    let best = (0..4).map(|_| arrived(&mut right, ms(500))).max().unwrap();
    assert!(best >= 25_000_000, "{best} bytes in half a second");
}

#[test]
fn connections_of_both_sides_share_the_rate_fairly() {
    let links = Links::start().unwrap();
    let link = links.link(line(20, Some(6_000_000)));
    let (first, mut to_first) = connect(&link);
    let (second, mut to_second) = connect(&link);
    // This one was dialled from the right, and carries bytes the same way.
    let (listener, target) = listener();
    let dialer = dial(link.open(Side::Right, target).unwrap());
    let (third, _) = listener.accept().unwrap();
    let mut to_third = dialer;
    [first, second, third].into_iter().for_each(flood);
    let counts = thread::scope(|scope| {
        let readers = [&mut to_first, &mut to_second, &mut to_third]
            .map(|stream| scope.spawn(|| arrived(stream, ms(2000))));
        readers.map(|reader| reader.join().unwrap())
    });
    let sum: u64 = counts.iter().sum();
    assert!(sum <= 13_000_000, "{counts:?}");
    for count in counts {
        let share = count as f64 / sum as f64;
        assert!((0.28..0.39).contains(&share), "{counts:?}");
    }
}

#[test]
fn a_busy_connection_does_not_delay_another() {
    let links = Links::start().unwrap();
    let link = links.link(line(10, Some(1_000_000)));
    let (busy, mut to_busy) = connect(&link);
    let (mut left, mut right) = connect(&link);
    flood(busy);
    let reader = thread::spawn(move || arrived(&mut to_busy, ms(1000)));
    sleep(ms(300));
    let mut took: Vec<_> = (0..20).map(|_| exchange(&mut left, &mut right)).collect();
    took.sort();
    assert!(took[10] < ms(25), "{took:?}");
    reader.join().unwrap();
}

#[test]
fn the_sender_feels_back_pressure() {
    let links = Links::start().unwrap();
    let link = links.link(line(100, Some(1_000_000)));
    let (mut left, _right) = connect(&link);
    // Nobody reads on the right. Without a limit, megabytes would go.
    left.set_write_timeout(Some(ms(1500))).unwrap();
    let mut taken = 0;
    while let Ok(bytes @ 1..) = left.write(&[0; 4096]) {
        taken += bytes;
    }
    let carried = link.carried_bytes(Side::Left);
    // 100 ms and 60 ms at the rate, and what the kernel keeps for the last socket.
    assert!(carried < 800_000, "{carried}");
    // The kernel of the sender, and the receiver's, which reads nothing.
    assert!(taken < 2_000_000, "{taken}");
    println!("{carried} bytes passed, {taken} were taken");
}

#[test]
fn a_cut_holds_one_direction_up_and_the_connection_lives() {
    let links = Links::start().unwrap();
    let link = links.link(line(5, None));
    let (mut left, mut right) = connect(&link);
    exchange(&mut left, &mut right);
    link.cut(Side::Left);
    left.write_all(&[1, 2, 3]).unwrap();
    assert!(is_silent(&mut right, ms(200)));
    exchange(&mut right, &mut left);
    link.restore(Side::Left);
    let mut bytes = [0; 3];
    right.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3]);
}

#[test]
fn what_is_on_its_way_at_a_cut_takes_the_rest_of_its_time_afterwards() {
    let links = Links::start().unwrap();
    let link = links.link(line(200, None));
    let (mut left, mut right) = connect(&link);
    left.write_all(&[1]).unwrap();
    sleep(ms(50));
    link.cut(Side::Left);
    assert!(is_silent(&mut right, ms(400)));
    link.restore(Side::Left);
    let restored = Instant::now();
    right.read_exact(&mut [0]).unwrap();
    assert!(restored.elapsed() >= ms(50), "{:?}", restored.elapsed());
}

#[test]
fn nothing_is_connected_across_a_cut_and_who_has_gone_meanwhile_is_not_connected_later() {
    let links = Links::start().unwrap();
    let link = links.link(line(0, None));
    let (listener, target) = listener();
    let door = link.open(Side::Left, target).unwrap();
    link.cut(Side::Right);
    let mut gone = dial(door);
    gone.write_all(b"gone").unwrap();
    let mut stays = dial(door);
    stays.write_all(b"stay").unwrap();
    sleep(ms(100));
    drop(gone);
    sleep(ms(100));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    link.restore(Side::Right);
    listener.set_nonblocking(false).unwrap();
    let (mut right, _) = listener.accept().unwrap();
    right.set_nonblocking(false).unwrap();
    let mut bytes = [0; 4];
    right.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"stay");
    assert_eq!(link.connections(), 1);
}

#[test]
fn a_reset_breaks_every_connection_at_both_ends_and_new_ones_can_be_made() {
    let links = Links::start().unwrap();
    let link = links.link(line(5, Some(1_000_000)));
    let (mut left, mut right) = connect(&link);
    let (mut other, _) = connect(&link);
    exchange(&mut left, &mut right);
    left.write_all(&vec![0; 100_000]).unwrap();
    link.reset();
    for stream in [&mut left, &mut right, &mut other] {
        let mut rest = Vec::new();
        let error = stream.read_to_end(&mut rest).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        assert!(rest.len() < 100_000);
    }
    let (mut left, mut right) = connect(&link);
    exchange(&mut left, &mut right);
}

#[test]
fn the_end_of_a_stream_arrives_after_its_bytes() {
    let links = Links::start().unwrap();
    let link = links.link(line(30, Some(1_000_000)));
    let (mut left, mut right) = connect(&link);
    left.write_all(&vec![5; 100_000]).unwrap();
    left.shutdown(std::net::Shutdown::Write).unwrap();
    let began = Instant::now();
    let mut all = Vec::new();
    right.read_to_end(&mut all).unwrap();
    assert_eq!(all, vec![5; 100_000]);
    assert!(began.elapsed() >= ms(100), "{:?}", began.elapsed());
    // The other direction is still open.
    right.write_all(&[6]).unwrap();
    drop(right);
    let mut answer = Vec::new();
    left.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, [6]);
    let began = Instant::now();
    while link.connections() > 0 {
        assert!(began.elapsed() < SOON);
        sleep(ms(5));
    }
}

#[test]
fn a_process_that_is_gone_is_noticed_across_the_link() {
    let links = Links::start().unwrap();
    let link = links.link(line(20, None));
    let (mut left, mut right) = connect(&link);
    exchange(&mut left, &mut right);
    // Its kernel answers what comes with a reset.
    drop(right);
    let began = Instant::now();
    while left.write_all(&[0; 1000]).is_ok() {
        assert!(began.elapsed() < SOON);
        sleep(ms(5));
    }
    // And where nobody listens, the connection breaks.
    let (listener, target) = listener();
    drop(listener);
    let mut left = dial(link.open(Side::Left, target).unwrap());
    assert!(left.read(&mut [0]).is_err());
}

#[test]
fn conditions_change_while_a_connection_is_open() {
    let links = Links::start().unwrap();
    let link = links.link(line(0, Some(1_000_000)));
    let (left, mut right) = connect(&link);
    flood(left);
    arrived(&mut right, ms(300));
    let slow = arrived(&mut right, ms(500));
    link.set_lines(line(20, Some(20_000_000)));
    assert_eq!(link.line(Side::Right), line(20, Some(20_000_000)));
    arrived(&mut right, ms(300));
    let fast = arrived(&mut right, ms(500));
    assert!(fast > 8 * slow, "{slow}, then {fast}");
}

#[test]
fn everything_ends_with_the_link() {
    let links = Links::start().unwrap();
    let link = links.link(line(0, None));
    let (mut left, mut right) = connect(&link);
    let (_listener, target) = listener();
    let door = link.open(Side::Left, target).unwrap();
    exchange(&mut left, &mut right);
    drop(link);
    assert!(left.read(&mut [0]).is_err());
    let began = Instant::now();
    while TcpStream::connect(door).is_ok() {
        assert!(began.elapsed() < SOON);
        sleep(ms(5));
    }
}
