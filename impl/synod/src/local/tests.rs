//! A local cluster of a stand-in: a script whose `init` makes a file, and whose `node` waits.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::kill;
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::exports;
use super::layout::Layout;
use super::member::{MemberEvent, Members};

const TEST_MAX: Duration = Duration::from_secs(20);

/// The `node` of the script. Like a real one, it ends with its standard input: if this test is killed,
/// no process stays behind.
const WAITS: &str = "trap 'exit 0' TERM; read -r _";

/// Makes the script, and the directory for the cluster.
fn program(node: &str) -> (TempDir, PathBuf, PathBuf) {
    let directory = TempDir::new().unwrap();
    let program = directory.path().join("synod");
    let init = "mkdir -p \"$3\"; echo once >> \"$3/identity\"";
    let script = format!("#!/bin/sh\ncase $1 in\ninit) {init};;\nnode) {node};;\nesac\n");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let data = directory.path().join("data");
    (directory, program, data)
}

async fn make(data: &Path, replicas: Option<u16>, program: &Path) -> anyhow::Result<Layout> {
    timeout(TEST_MAX, Layout::make(Some(data.to_owned()), replicas, 0, program)).await.unwrap()
}

fn is_there(process_id: u32) -> bool {
    kill(Pid::from_raw(process_id.try_into().unwrap()), None).is_ok()
}

#[tokio::test]
async fn a_directory_is_made_once_and_used_again() {
    let (_directory, program, data) = program(WAITS);
    let layout = make(&data, Some(5), &program).await.unwrap();
    assert_eq!(layout.places.len(), 5);
    let ports: std::collections::BTreeSet<_> =
        layout.places.iter().flat_map(|place| [place.client_port, place.peer_port]).collect();
    assert_eq!(ports.len(), 10);

    let error = make(&data, Some(5), &program).await.unwrap_err().to_string();
    assert!(error.contains("is in use by another `synod local`"), "{error}");
    layout.end().unwrap();

    let error = make(&data, Some(3), &program).await.unwrap_err().to_string();
    assert!(error.contains("holds a cluster of 5 replicas"), "{error}");
    fs::remove_dir_all(data.join("r4")).unwrap();
    let layout = make(&data, None, &program).await.unwrap();
    assert_eq!(layout.places.len(), 5);
    assert_eq!(fs::read_to_string(data.join("r0/identity")).unwrap(), "once\n");
    assert!(!data.join("r4").exists(), "a lost replica is not made anew");
}

#[tokio::test]
async fn an_interrupted_init_is_continued() {
    let (_directory, program, data) = program(WAITS);
    drop(make(&data, None, &program).await.unwrap());
    fs::remove_file(data.join("replicas")).unwrap();
    fs::remove_dir_all(data.join("r2")).unwrap();
    drop(make(&data, None, &program).await.unwrap());
    assert_eq!(fs::read_to_string(data.join("r0/identity")).unwrap(), "once\n");
    assert_eq!(fs::read_to_string(data.join("r2/identity")).unwrap(), "once\n");
}

#[tokio::test]
async fn unusable_arguments_are_reported() {
    let (directory, program, data) = program("exit 1");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("thesis.tex"), "").unwrap();
    let error = make(&data, None, &program).await.unwrap_err().to_string();
    assert!(error.contains("holds thesis.tex, which no `synod local` has made"), "{error}");
    assert_eq!(fs::read_dir(&data).unwrap().count(), 1, "nothing is left in it");

    let failing = directory.path().join("failing");
    fs::write(&failing, "#!/bin/sh\necho no disk >&2; exit 7\n").unwrap();
    fs::set_permissions(&failing, fs::Permissions::from_mode(0o755)).unwrap();
    let other = directory.path().join("other");
    let error = make(&other, None, &failing).await.unwrap_err().to_string();
    assert!(error.contains("r0 could not be made (exit status: 7)\nno disk"), "{error}");

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let other = directory.path().join("ports");
    let error = Layout::make(Some(other), None, port, &program).await.unwrap_err().to_string();
    assert!(error.contains(&format!("port {port} of 127.0.0.1 is in use")), "{error}");
    assert!(error.contains("--base-port"), "{error}");
}

#[tokio::test]
async fn a_replica_that_ends_is_started_again_and_none_is_left_in_the_end() {
    let (_directory, program, data) = program(WAITS);
    let layout = make(&data, None, &program).await.unwrap();
    let (events, mut happens) = mpsc::unbounded_channel();
    let members = Members::start(&program, &layout.places, &events).unwrap();
    let mut started = Vec::new();
    let next = async |happens: &mut mpsc::UnboundedReceiver<MemberEvent>| {
        timeout(TEST_MAX, happens.recv()).await.unwrap().unwrap()
    };
    for _ in 0..3 {
        let MemberEvent::Started { process_id, .. } = next(&mut happens).await else { panic!() };
        assert!(is_there(process_id));
        started.push(process_id);
    }
    let victim = members.process_id(1).unwrap();
    kill(Pid::from_raw(victim.try_into().unwrap()), nix::sys::signal::Signal::SIGKILL).unwrap();
    let event = next(&mut happens).await;
    assert!(matches!(event, MemberEvent::Ended { id: 1, process_id, .. } if process_id == victim));
    assert!(event.to_string().contains("has ended (signal: 9 (SIGKILL)); starts again in 0.5 s"));
    let MemberEvent::Started { place, process_id } = next(&mut happens).await else { panic!() };
    assert_eq!(place, layout.places[1]);
    assert_eq!(members.process_id(1), Some(process_id));
    started.push(process_id);

    timeout(TEST_MAX, members.stop()).await.unwrap();
    assert!(!started.into_iter().any(is_there));
}

#[tokio::test]
async fn a_replica_that_cannot_run_is_started_again_after_longer_and_longer() {
    let (_directory, program, data) = program("exit 3");
    let layout = make(&data, None, &program).await.unwrap();
    let (events, mut happens) = mpsc::unbounded_channel();
    let members = Members::start(&program, &layout.places[..1], &events).unwrap();
    let mut downs = Vec::new();
    while downs.len() < 3 {
        match timeout(TEST_MAX, happens.recv()).await.unwrap().unwrap() {
            MemberEvent::Ended { down, status, .. } => {
                assert_eq!(status.code(), Some(3));
                downs.push(down.as_millis());
            }
            MemberEvent::Started { .. } => {}
            event @ MemberEvent::NotStarted { .. } => panic!("{event}"),
        }
    }
    assert_eq!(downs, [500, 1000, 2000]);
    timeout(TEST_MAX, members.stop()).await.unwrap();
}

#[test]
fn the_endpoints_of_five_replicas_fit_80_columns() {
    let endpoint = |port| format!("127.0.0.1:{port}").parse().expect("an endpoint");
    let endpoints: Vec<_> = (65_530..65_535).map(endpoint).collect();
    let lines = exports(&endpoints);
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1], "export SYNOD_ENDPOINTS=$SYNOD_ENDPOINTS,127.0.0.1:65533,127.0.0.1:65534");
    assert!(lines.iter().all(|line| line.len() + 2 <= 80), "{lines:?}");
    assert_eq!(exports(&endpoints[..3]), lines[..1]);
}
