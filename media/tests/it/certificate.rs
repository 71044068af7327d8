//! Certificates that a test makes, and a process that trusts them.

use std::path::PathBuf;

use tokio::process::Command;

/// A folder of a test's own; ends with it.
pub struct Directory(PathBuf);

/// A certificate for 127.0.0.1, and who signed it.
pub struct Signed {
    /// With its key, in one file.
    pub pem: String,
    /// The authority's certificate.
    pub authority: String,
}

impl Directory {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("damwall-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// A certificate of an authority that nobody knows.
    pub async fn signed(&self) -> Signed {
        let authority = self.certificate("authority", &[]).await;
        let key = self.path("authority.key");
        let signed_by = ["-CA", &authority, "-CAkey", &key];
        let is_leaf = ["-addext", "basicConstraints=critical,CA:FALSE"];
        let is_here = ["-addext", "subjectAltName=IP:127.0.0.1"];
        let certificate =
            self.certificate("server", &[signed_by.as_slice(), &is_leaf, &is_here].concat()).await;
        let parts = [self.path("server.key"), certificate];
        let parts = parts.map(|path| std::fs::read_to_string(path).unwrap());
        let pem = self.path("server.pem");
        std::fs::write(&pem, parts.concat()).unwrap();
        Signed { pem, authority }
    }

    /// Self-signed unless `more` names an authority; its key is beside it.
    async fn certificate(&self, name: &str, more: &[&str]) -> String {
        let [key, certificate] = ["key", "crt"].map(|s| self.path(&format!("{name}.{s}")));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"])
            .args(["-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-keyout", &key, "-out", &certificate])
            .args(more)
            .output()
            .await
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        certificate
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left is in the folder for temporary files.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// URL of the camera, in the process that trusts an authority of the test's.
const TRUSTED: &str = "DAMWALL_TEST_TRUSTED";

/// In the process that [`run_trusting`] started: the camera to connect to.
pub fn trusting_url() -> Option<String> {
    std::env::var(TRUSTED).ok()
}

/// Runs a test, the one that calls, in a process of its own that trusts `authority`, which a process is
/// told when it starts.
pub async fn run_trusting(authority: &str, url: &str, test: &str) {
    let trusting = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test])
        .env(TRUSTED, url)
        .env("SSL_CERT_FILE", authority)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&trusting.stdout);
    assert!(trusting.status.success() && said.contains("1 passed"), "{said}");
}
