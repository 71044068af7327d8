//! nginx with the same bytes: from its cache, from its cache through gzip, and as files.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::http;
use crate::run::terminate;

/// A running nginx; ended when dropped.
#[derive(Debug)]
pub struct Nginx {
    child: Child,
    ports: [u16; 3],
}

impl Nginx {
    /// Runs it with a page and a picture to give out.
    ///
    /// # Errors
    /// When it does not answer with them.
    pub fn start(folder: &Path, page: &[u8], picture: &[u8]) -> Result<Self> {
        let folder = folder.join("nginx");
        for below in ["files", "cache", "temp"] {
            fs::create_dir_all(folder.join(below))
                .with_context(|| format!("cannot make {}", folder.display()))?;
        }
        fs::write(folder.join("files/page"), page).context("cannot write the page")?;
        fs::write(folder.join("files/thumb.webp"), picture).context("cannot write the picture")?;
        let ports = free_ports()?;
        let config = folder.join("nginx.conf");
        fs::write(&config, text(&folder, ports)).context("cannot write nginx.conf")?;
        let child = Command::new("nginx")
            .arg("-c")
            .arg(&config)
            .arg("-e")
            .arg(folder.join("error.log"))
            .stdin(Stdio::null())
            .spawn()
            .context("cannot start nginx")?;
        let nginx = Self { child, ports };
        for _ in 0..100 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, ports[0])).is_ok() {
                break;
            }
            sleep(Duration::from_millis(50));
        }
        for (addr, header) in [(nginx.cached(), ""), (nginx.cached_gzip(), "Accept-Encoding: gzip")]
        {
            // The second is a hit.
            http::get(&addr, "/page", &[])?;
            let headers: &[&str] = if header.is_empty() { &[] } else { &[header] };
            let hit = http::get(&addr, "/page", headers)?;
            let is_as_meant = hit.header("x-cache-status") == Some("HIT")
                && (hit.header("content-encoding") == Some("gzip")) != header.is_empty();
            if !is_as_meant {
                bail!("nginx does not answer from its cache; see {}", folder.display());
            }
        }
        Ok(nginx)
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Address of the page from its cache.
    pub fn cached(&self) -> String {
        addr(self.ports[0])
    }

    /// Address of the page from its cache, compressed for each asker.
    pub fn cached_gzip(&self) -> String {
        addr(self.ports[1])
    }

    /// Address of the files.
    pub fn files(&self) -> String {
        addr(self.ports[2])
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends its workers only when it is asked to.
        terminate(&mut self.child);
    }
}

fn addr(port: u16) -> String {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port)).to_string()
}

fn free_ports() -> Result<[u16; 3]> {
    let mut listeners = Vec::new();
    let mut ports = [0; 3];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        *port = listener.local_addr().context("no free port")?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

/// Debian's settings where they matter (sendfile, tcp_nopush), two workers, no access log, and
/// connections that last. As root its workers would be somebody who cannot read the target folder.
fn text(folder: &Path, [cached, gzip, files]: [u16; 3]) -> String {
    let folder = folder.display();
    let cached_location = format!(
        "location / {{ proxy_pass http://127.0.0.1:{files}; proxy_cache pages; proxy_cache_valid 200 1h; \
         proxy_set_header Accept-Encoding \"\"; add_header X-Cache-Status $upstream_cache_status; }}"
    );
    format!(
        "daemon off;\nuser root;\nworker_processes 2;\npid {folder}/nginx.pid;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n\
           access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000;\n\
           client_body_temp_path {folder}/temp/body; proxy_temp_path {folder}/temp/proxy;\n\
           fastcgi_temp_path {folder}/temp/fastcgi; uwsgi_temp_path {folder}/temp/uwsgi; scgi_temp_path {folder}/temp/scgi;\n\
           proxy_cache_path {folder}/cache keys_zone=pages:10m;\n\
           default_type \"text/html; charset=utf-8\"; types {{ image/webp webp; }}\n\
           server {{ listen 127.0.0.1:{files}; root {folder}/files; }}\n\
           server {{ listen 127.0.0.1:{cached}; {cached_location} }}\n\
           server {{ listen 127.0.0.1:{gzip}; gzip on; gzip_comp_level 5; gzip_proxied any; {cached_location} }}\n\
         }}\n"
    )
}
