//! Handing over to another daemon: listening sockets, and connections that are between two requests.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use libvalvula::Endpoint;
use tokio::sync::mpsc::UnboundedSender;

use super::Runtime;
use crate::mail::{ask, post};
use crate::port::{Disown, Duplicate, Pause, PortState, Unpause};
use crate::socket::Accepted;
use crate::worker::{Open, ParkSessions, Worker};

/// A client's connection between two requests, on its way from one daemon to another.
#[derive(Debug)]
pub struct Connected {
    /// Name of its listener.
    pub listener: Arc<str>,
    /// Address of its listener, as configured.
    pub endpoint: Endpoint,
    /// The connection; nothing of a request was read from it.
    pub socket: OwnedFd,
}

/// A listener's socket, shared with another daemon.
#[derive(Debug)]
pub struct SharedSocket {
    /// The listener's name.
    pub name: Arc<str>,
    /// Its address as configured.
    pub endpoint: Endpoint,
    /// The socket, listening.
    pub socket: OwnedFd,
    /// The file of a unix socket is removed when the listener ends.
    pub own_file: bool,
    /// An operator has suspended it.
    pub suspended: bool,
}

impl Runtime {
    /// The listening sockets, a second handle of each.
    ///
    /// # Errors
    /// The system has no descriptor left, or a port does not answer.
    pub async fn sockets(&self) -> io::Result<Vec<SharedSocket>> {
        let ports: Vec<_> = {
            let inside = self.0.inside.lock();
            let known = |port: &super::PortEntry| (port.settings.clone(), port.address.clone(), port.state.get());
            inside.ports.iter().map(known).collect()
        };
        let mut sockets = Vec::with_capacity(ports.len());
        for (settings, address, state) in ports {
            let (socket, own_file) = ask(&address, Duplicate).await.map_err(io::Error::other)??;
            sockets.push(SharedSocket {
                name: settings.name.clone(),
                endpoint: settings.endpoint.clone(),
                socket,
                own_file,
                suspended: state == PortState::Suspended,
            });
        }
        Ok(sockets)
    }

    /// Stops accepting on all ports until [`Runtime::resume_all`]: clients wait in the kernel. Returns when
    /// no further connection can be on its way to a worker.
    pub async fn pause(&self) {
        for port in self.addresses() {
            // One that has ended accepts nothing either.
            let _ = ask(&port, Pause).await;
        }
    }

    /// Accepts again on all ports that no operator has suspended.
    pub async fn resume_all(&self) {
        for port in self.addresses() {
            let _ = ask(&port, Unpause).await;
        }
    }

    fn addresses(&self) -> Vec<actix::Addr<crate::port::Port>> {
        self.0.inside.lock().ports.iter().map(|port| port.address.clone()).collect()
    }

    /// Sends every connection to `to` as soon as it is between two requests.
    pub fn park(&self, to: UnboundedSender<Connected>) {
        for worker in &self.0.workers {
            post(&worker.address, ParkSessions(Some(to.clone())));
        }
    }

    /// Keeps the connections that are not parked yet.
    pub fn unpark(&self) {
        for worker in &self.0.workers {
            post(&worker.address, ParkSessions(None));
        }
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.0.inside.lock().ports.iter().map(|port| port.seats.open()).sum()
    }

    /// From now on the files of unix sockets stay when the listeners end: they are another daemon's.
    pub fn disown_files(&self) {
        for port in self.addresses() {
            post(&port, Disown);
        }
    }

    fn next_worker(&self) -> actix::Addr<Worker> {
        let next = self.0.next_worker.fetch_add(1, Ordering::Relaxed) % self.0.workers.len();
        self.0.workers[next].address.clone()
    }

    /// Goes on with a connection of another daemon; false when its listener is not served here. With
    /// `max_connections` open it waits.
    pub fn adopt(&self, connected: Connected) -> bool {
        let Connected { listener, endpoint, socket } = connected;
        let (id, seats) = {
            let inside = self.0.inside.lock();
            let same = |port: &&super::PortEntry| port.is_at(&listener, &endpoint);
            let Some(port) = inside.ports.iter().find(same) else { return false };
            (port.id, port.seats.clone())
        };
        let worker = self.next_worker();
        let socket = match endpoint {
            Endpoint::Tcp(_) => Accepted::Tcp(socket.into()),
            Endpoint::Unix(_) => Accepted::Unix(socket.into()),
        };
        actix_rt::spawn(async move {
            let seat = seats.take().await.seated(true);
            post(&worker, Open { port: id, socket, seat });
        });
        true
    }
}
