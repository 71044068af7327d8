//! A Next.js page with the same rows, made once and revalidated each minute (ISR), from its standalone
//! server.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::http;
use crate::paths;
use crate::run::{run, say, step, succeeds};
use crate::versions::NEXT;

/// A running Next.js; killed when dropped.
#[derive(Debug)]
pub struct Next {
    child: Child,
    port: u16,
}

impl Next {
    /// Builds the page with these rows (the API's JSON) and serves it; `None` (and says so) where it
    /// cannot be had.
    ///
    /// # Errors
    /// When it was built and does not answer.
    pub fn start(rows: &[u8]) -> Result<Option<Self>> {
        if !succeeds(Command::new("npm").arg("--version")) {
            say("WITHOUT Next.js: there is no `npm` to get it with");
            return Ok(None);
        }
        let folder = paths::cache()?.join(format!("peers/next-{NEXT}"));
        let server = match build(&folder, rows) {
            Ok(server) => server,
            Err(error) => {
                say(&format!("WITHOUT Next.js: {error:#}"));
                return Ok(None);
            }
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let port = listener.local_addr().context("no free port")?.port();
        drop(listener);
        let child = Command::new("node")
            .arg(&server)
            .env("HOSTNAME", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("NODE_ENV", "production")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start node")?;
        let next = Self { child, port };
        for _ in 0..100 {
            if let Ok(page) = http::get(&next.addr(), "/assets", &[]) {
                let cache = page.header("x-nextjs-cache").unwrap_or_default();
                say(&format!("Next.js {NEXT}: {} bytes, {cache}", page.body.len()));
                return Ok(Some(next));
            }
            sleep(Duration::from_millis(100));
        }
        bail!("Next.js does not answer at {}", next.addr())
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Where it listens.
    pub fn addr(&self) -> String {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)).to_string()
    }
}

impl Drop for Next {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// The standalone server's file.
fn build(folder: &Path, rows: &[u8]) -> Result<PathBuf> {
    fs::create_dir_all(folder.join("app/assets"))
        .with_context(|| format!("cannot make {}", folder.display()))?;
    let package = format!(
        r#"{{"private":true,"dependencies":{{"next":"{NEXT}","react":"19","react-dom":"19"}}}}"#
    );
    let files: [(&str, &[u8]); 5] = [
        ("package.json", package.as_bytes()),
        ("next.config.mjs", b"export default { output: 'standalone' };\n"),
        ("app/layout.js", LAYOUT.as_bytes()),
        ("app/assets/page.js", PAGE.as_bytes()),
        ("app/assets/rows.json", rows),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
    }
    let npm = |words: &[&str]| {
        let mut command = Command::new("npm");
        command.args(words).current_dir(folder).env("NEXT_TELEMETRY_DISABLED", "1");
        command
    };
    step(&format!("building a page with Next.js {NEXT}"), || {
        if !folder.join("node_modules/next").is_dir() {
            run(&mut npm(&["install", "--no-audit", "--no-fund"]), "check the network")?;
        }
        run(&mut npm(&["exec", "--", "next", "build"]), "see its message above")
    })?;
    Ok(folder.join(".next/standalone/server.js"))
}

const LAYOUT: &str = "export default function Layout({ children }) {
  return <html lang=\"en\"><body>{children}</body></html>;
}
";

/// As many rows, with what Damwall's cards show.
const PAGE: &str = "import list from './rows.json';

export const revalidate = 60;

export default function Assets() {
  return <main><h1>Assets</h1><table><tbody>
    {list.items.map((asset) => <tr key={asset.id}>
      <td><a href={`/assets/${asset.id}`}>{asset.thumb.url_320
        ? <img loading=\"lazy\" decoding=\"async\" width={asset.thumb.width_px} height={asset.thumb.height_px}
            sizes=\"(min-width: 2400px) 340px, (min-width: 700px) 240px, 46vw\"
            srcSet={`${asset.thumb.url_320} 320w, ${asset.thumb.url_640} 640w`}
            src={asset.thumb.url_320} alt={asset.name} />
        : null}</a></td>
      <td title={asset.name}>{asset.name}</td><td>{asset.folder}</td><td>{asset.kind}</td>
    </tr>)}
  </tbody></table></main>;
}
";
