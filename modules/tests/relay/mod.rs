//! What stands between a daemon and its database in tests of answers that are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::TestDatabase;

/// A relay before a server that can swallow what the server answers, and then hang up.
pub struct Relay {
    pub url: String,
    swallow: Arc<AtomicBool>,
}

impl Relay {
    /// Stands before the server of `sql`; `url` leads to it.
    pub async fn before(sql: &TestDatabase) -> Self {
        let url = sql.url_tcp();
        let start = url.rfind('@').map_or_else(|| url.find("://").unwrap() + 3, |at| at + 1);
        let end = start + url[start..].find('/').unwrap();
        let server = url[start..end].to_owned();
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let swallow = Arc::new(AtomicBool::new(false));
        let flag = swallow.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(server) = tokio::net::TcpStream::connect(&server).await else { continue };
                tokio::spawn(relay(client, server, flag.clone()));
            }
        });
        Self { url: format!("{}{address}{}", &url[..start], &url[end..]), swallow }
    }

    /// Swallows the next answer of the server, whatever it is to.
    pub async fn swallow_one(&self) {
        self.swallow.store(true, Ordering::SeqCst);
        let give_up = tokio::time::Instant::now() + Duration::from_secs(30);
        while self.swallow.load(Ordering::SeqCst) {
            assert!(tokio::time::Instant::now() < give_up, "the server says nothing");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn relay(client: tokio::net::TcpStream, server: tokio::net::TcpStream, swallow: Arc<AtomicBool>) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let up = tokio::spawn(async move { tokio::io::copy(&mut from_client, &mut to_server).await });
    let mut buffer = vec![0; 65_536];
    while let Ok(count @ 1..) = from_server.read(&mut buffer).await {
        // The server has done it; the client never hears of it.
        if swallow.swap(false, Ordering::SeqCst) || to_client.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    up.abort();
}
