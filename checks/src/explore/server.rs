//! What the explorer serves, and at which address.
//!
//! The first part of every address names the scenario. So a link to a state of one scenario never shows
//! a state of another: it leads to a page that says which explorer to start.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, anyhow};
use serde::Serialize;
use synod_model::world::World;
use tiny_http::{Header, Method, Request, Response};

use super::background::Background;
use super::view;
use crate::cli::Exit;
use crate::subject::Subject;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// How many requests are answered at once. A long path takes a while to draw.
const THREADS: usize = 4;

/// A socket that listens.
pub struct Server {
    listener: TcpListener,
}

/// An answer: its status, its type and its content.
struct Answer(u16, &'static str, Vec<u8>);

impl Server {
    /// Listens at `address`.
    ///
    /// # Errors
    ///
    /// If that is not possible.
    pub fn bind(address: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(address).with_context(|| {
            format!(
                "cannot serve at {address}\n  choose another address: --address 127.0.0.1:0 takes any free port"
            )
        })?;
        Ok(Self { listener })
    }

    /// Where it listens.
    ///
    /// # Errors
    ///
    /// If the system does not say.
    pub fn address(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.listener.local_addr()?)
    }

    /// Serves the page until the process ends.
    ///
    /// # Errors
    ///
    /// If no more requests can be received.
    pub fn serve(self, subject: &Subject, background: &Background) -> anyhow::Result<Exit> {
        let server = tiny_http::Server::from_listener(self.listener, None);
        let server = Arc::new(server.map_err(|error| anyhow!("cannot serve: {error}"))?);
        let world = Arc::new(World::new(subject.scenario.clone()));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (server, world) = (Arc::clone(&server), Arc::clone(&world));
                let (slug, background) = (subject.slug(), background.clone());
                thread::spawn(move || {
                    while let Ok(request) = server.recv() {
                        respond(request, &slug, &world, &background);
                    }
                })
            })
            .collect();
        for thread in threads {
            // A thread that panicked has answered nothing. The others go on.
            let _ = thread.join();
        }
        Err(anyhow!("the explorer stopped serving"))
    }
}

fn respond(request: Request, slug: &str, world: &World, background: &Background) {
    let Answer(status, kind, content) =
        answer(request.method(), request.url(), slug, world, background);
    let mut response = Response::from_data(content).with_status_code(status);
    let headers = [("Content-Type", kind), ("Cache-Control", "no-store")];
    let home = format!("/{slug}/");
    let to = (status == 302).then_some(("Location", home.as_str()));
    for (name, value) in headers.into_iter().chain(to) {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    // A browser that has gone away needs no answer.
    let _ = request.respond(response);
}

fn answer(
    method: &Method,
    url: &str,
    slug: &str,
    world: &World,
    background: &Background,
) -> Answer {
    let url = url.split('?').next().unwrap_or(url);
    let (scenario, rest) = url.trim_start_matches('/').split_once('/').unwrap_or((&url[1..], ""));
    match (method, scenario, rest) {
        (Method::Get, "", _) => Answer(302, "text/plain", Vec::new()),
        (Method::Get, it, "") if it == slug && !url.ends_with('/') => {
            Answer(302, "text/plain", Vec::new())
        }
        (_, it, _) if it != slug => other_scenario(it, slug),
        (Method::Get, _, "") => text(200, "text/html; charset=utf-8", PAGE),
        (Method::Get, _, "page.css") => text(200, "text/css; charset=utf-8", STYLE),
        (Method::Get, _, "page.js") => text(200, "text/javascript; charset=utf-8", SCRIPT),
        (Method::Get, _, "status") => json(200, &background.status(world)),
        (Method::Post, _, "search") => {
            background.begin();
            json(200, &background.status(world))
        }
        (Method::Get, _, path) => match path.strip_prefix("states/") {
            Some(path) => match view::state(world, background.scenario(), path) {
                Ok(state) => json(200, &state),
                Err(error) => json(404, &error),
            },
            None => text(404, "text/plain; charset=utf-8", "there is no such page"),
        },
        _ => text(405, "text/plain; charset=utf-8", "only GET"),
    }
}

/// The page at the address of another scenario.
fn other_scenario(asked: &str, slug: &str) -> Answer {
    let safe = |it: char| it.is_ascii_alphanumeric() || "-_.".contains(it);
    let asked: String = asked.chars().filter(|it| safe(*it)).collect();
    let page = format!(
        "<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>not {asked}</title>\
         <body style=\"font: 16px/1.5 sans-serif; max-width: 40em; margin: 3em auto\">\
         <h1>This link is for another scenario</h1>\
         <p>The link is for <b>{asked}</b>. This explorer shows <b>{slug}</b>.</p>\
         <p>To follow the link, start <code>synod-check explore {asked}</code> in its place.</p>\
         <p><a href=\"/{slug}/\">Explore {slug}</a></p>"
    );
    text(404, "text/html; charset=utf-8", &page)
}

fn text(status: u16, kind: &'static str, content: &str) -> Answer {
    Answer(status, kind, content.as_bytes().to_vec())
}

fn json(status: u16, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(content) => Answer(status, "application/json", content),
        Err(error) => text(500, "text/plain; charset=utf-8", &error.to_string()),
    }
}
