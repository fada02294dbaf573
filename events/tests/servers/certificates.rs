//! Certificates for servers and clients of tests, by `openssl`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// An authority of a directory.
pub struct Authority {
    dir: PathBuf,
}

/// A certificate with its key.
pub struct Issued {
    /// PEM file of the certificate.
    pub certificate: PathBuf,
    /// PEM file of the key.
    pub key: PathBuf,
}

fn openssl(args: &[&str], dir: &Path) -> Result<(), String> {
    let mut command = Command::new("openssl");
    command.args(args).current_dir(dir).stdin(Stdio::null());
    let output = command.output().map_err(|e| format!("openssl: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr)))
}

const NEW_KEY: [&str; 5] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl Authority {
    /// Makes one.
    pub fn make(dir: &Path, name: &str) -> Result<Self, String> {
        let dir = dir.join(name);
        fs::create_dir_all(&dir).map_err(|e| e.to_string())?;
        let mut args = vec![
            "req",
            "-x509",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            "/CN=a test",
        ];
        args.extend(NEW_KEY);
        openssl(&args, &dir)?;
        Ok(Self { dir })
    }

    /// PEM file of its own certificate.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// A certificate for this machine.
    pub fn issue(&self, name: &str) -> Result<Issued, String> {
        self.issue_for(name, "IP:127.0.0.1,DNS:localhost", "2")
    }

    /// A certificate for whoever has these names, for so many days: it has ended if they are fewer than none.
    pub fn issue_for(&self, name: &str, names: &str, days: &str) -> Result<Issued, String> {
        let [key, asked, made] = ["key", "csr", "pem"].map(|end| format!("{name}.{end}"));
        let subject = format!("/CN={name}");
        let mut args = vec!["req", "-keyout", &key, "-out", &asked, "-subj", &subject];
        args.extend(NEW_KEY);
        openssl(&args, &self.dir)?;
        fs::write(self.dir.join("names"), format!("subjectAltName={names}\n")).map_err(|e| e.to_string())?;
        let args = [
            "x509",
            "-req",
            "-in",
            &asked,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            days,
            "-extfile",
            "names",
            "-out",
            &made,
        ];
        openssl(&args, &self.dir)?;
        Ok(Issued {
            certificate: self.dir.join(made),
            key: self.dir.join(key),
        })
    }
}
