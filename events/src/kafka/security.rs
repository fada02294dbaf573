//! How brokers are spoken to: in the clear, over TLS, and as whom (SASL).
//!
//! The client does TLS and SASL by OpenSSL, which only a build with the feature `kafka-tls` has.

use std::path::PathBuf;

/// A password. Never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// How a user proves to be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// The password itself, within TLS.
    Plain,
    /// SCRAM by SHA-256: the password does not travel.
    ScramSha256,
    /// The same by SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// In the client's own words.
    fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// How brokers are spoken to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KafkaSecurity {
    /// Over TLS.
    pub tls: bool,
    /// As a user, by which mechanism.
    pub sasl: Option<Mechanism>,
    /// PEM file of the authorities that brokers' certificates are checked against; those that OpenSSL knows if `None`.
    pub ca: Option<PathBuf>,
    /// PEM file of a certificate, for brokers that ask clients for one.
    pub certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
    /// The user.
    pub user: Option<String>,
    /// Name of a secret that holds the password, for whoever knows secrets.
    pub secret: Option<String>,
    /// The password.
    pub password: Option<Password>,
}

/// A key that does not go with the others, and what it takes.
pub(super) type Misfit = (&'static str, String, &'static str);

impl KafkaSecurity {
    /// Sets one key of an address; whether there is such a key here.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<bool, Misfit> {
        match key {
            "security" => {
                let has_sasl = match value {
                    "plaintext" => return Ok(true),
                    "ssl" => false,
                    "sasl_ssl" => true,
                    _ => {
                        return Err((
                            "security",
                            value.into(),
                            "plaintext, ssl or sasl_ssl: no password goes to brokers in the clear",
                        ));
                    }
                };
                self.tls = true;
                if has_sasl {
                    self.sasl.get_or_insert(Mechanism::ScramSha512);
                }
            }
            "mechanism" => {
                self.sasl = Some(match value {
                    "plain" => Mechanism::Plain,
                    "scram-sha-256" => Mechanism::ScramSha256,
                    "scram-sha-512" => Mechanism::ScramSha512,
                    _ => return Err(("mechanism", value.into(), "plain, scram-sha-256 or scram-sha-512")),
                });
            }
            "ca" => self.ca = Some(value.into()),
            "certificate" => self.certificate = Some(value.into()),
            "key" => self.key = Some(value.into()),
            "user" => self.user = Some(value.into()),
            "secret" => self.secret = Some(value.into()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What does not go together.
    pub(super) fn check(&self) -> Result<(), Misfit> {
        let file = |file: &Option<PathBuf>| file.as_ref().map(|file| file.display().to_string());
        let given = [
            ("ca", file(&self.ca)),
            ("certificate", file(&self.certificate)),
            ("key", file(&self.key)),
        ];
        if let Some((key, Some(value))) = given.into_iter().find(|(_, value)| value.is_some() && !self.tls) {
            return Err((key, value, "a file, with security=ssl or security=sasl_ssl"));
        }
        match (&self.certificate, &self.key) {
            (Some(_), None) => return Err(("key", String::new(), "the PEM file of the key of `certificate`")),
            (None, Some(_)) => return Err(("certificate", String::new(), "the PEM file of the certificate of `key`")),
            (Some(_), Some(_)) | (None, None) => {}
        }
        if self.sasl.is_some() && !self.tls {
            return Err(("mechanism", String::new(), "a way to log in, with security=sasl_ssl"));
        }
        let has_password = self.secret.is_some() || self.password.is_some();
        match (self.sasl, &self.user, has_password) {
            (Some(_), None, _) => Err(("user", String::new(), "the user of security=sasl_ssl")),
            (Some(_), Some(_), false) => Err(("secret", String::new(), "the name of a secret that holds the user's password")),
            (None, Some(user), _) => Err(("user", user.clone(), "a user, with security=sasl_ssl")),
            (None, None, true) => Err(("secret", String::new(), "a secret, with security=sasl_ssl and a user")),
            (Some(_), Some(_), true) | (None, None, false) => Ok(()),
        }
    }

    /// Whether only a build with TLS and SASL can do that.
    pub(super) fn takes_tls(&self) -> bool {
        self.tls || self.sasl.is_some()
    }

    /// The same in the client's own words.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = Vec::new();
        if !self.takes_tls() {
            return settings;
        }
        let protocol = if self.sasl.is_some() { "sasl_ssl" } else { "ssl" };
        settings.push(("security.protocol", protocol.into()));
        // Who answers is named by their certificate.
        settings.push(("ssl.endpoint.identification.algorithm", "https".into()));
        for (name, file) in [
            ("ssl.ca.location", &self.ca),
            ("ssl.certificate.location", &self.certificate),
            ("ssl.key.location", &self.key),
        ] {
            settings.extend(file.as_ref().map(|file| (name, file.display().to_string())));
        }
        if let Some(mechanism) = self.sasl {
            settings.push(("sasl.mechanism", mechanism.name().into()));
            settings.extend(self.user.clone().map(|user| ("sasl.username", user)));
            settings.extend(self.password.clone().map(|Password(password)| ("sasl.password", password)));
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What these keys of an address say.
    fn read(pairs: &[(&str, &str)]) -> Result<KafkaSecurity, Misfit> {
        let mut security = KafkaSecurity::default();
        for (key, value) in pairs {
            assert!(security.set(key, value)?, "{key}");
        }
        security.check().map(|()| security)
    }

    #[test]
    fn login_is_told_to_the_client_in_its_own_words() {
        let mut security = read(&[
            ("mechanism", "scram-sha-256"),
            ("security", "sasl_ssl"),
            ("ca", "/ca.pem"),
            ("user", "quipu"),
            ("secret", "kafka"),
        ])
        .unwrap();
        security.password = Some(Password("hunter2".into()));
        let settings = security.settings();
        for (key, value) in [
            ("security.protocol", "sasl_ssl"),
            ("ssl.endpoint.identification.algorithm", "https"),
            ("ssl.ca.location", "/ca.pem"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", "quipu"),
            ("sasl.password", "hunter2"),
        ] {
            assert!(settings.contains(&(key, value.into())), "{key}");
        }
        assert!(!format!("{security:?}").contains("hunter2"));
        assert_eq!(
            read(&[("security", "sasl_ssl"), ("user", "u"), ("secret", "s")]).unwrap().sasl,
            Some(Mechanism::ScramSha512)
        );
        let of_certificate = read(&[("security", "ssl"), ("certificate", "/c.pem"), ("key", "/k.pem")]).unwrap();
        assert!(of_certificate.takes_tls() && of_certificate.settings().contains(&("ssl.key.location", "/k.pem".into())));
        let plain = read(&[("security", "plaintext")]).unwrap();
        assert!(!plain.takes_tls() && plain.settings().is_empty());
    }

    #[test]
    fn keys_that_do_not_go_together_are_refused_by_name() {
        for (pairs, key) in [
            (&[("security", "sasl_plaintext")][..], "security"),
            (&[("mechanism", "oauthbearer")], "mechanism"),
            (&[("mechanism", "plain"), ("user", "u"), ("secret", "s")], "mechanism"),
            (&[("ca", "/ca.pem")], "ca"),
            (&[("security", "ssl"), ("certificate", "/c.pem")], "key"),
            (&[("security", "ssl"), ("key", "/k.pem")], "certificate"),
            (&[("security", "ssl"), ("user", "u")], "user"),
            (&[("security", "ssl"), ("secret", "s")], "secret"),
            (&[("security", "sasl_ssl"), ("secret", "s")], "user"),
            (&[("security", "sasl_ssl"), ("user", "u")], "secret"),
        ] {
            assert_eq!(read(pairs).unwrap_err().0, key, "{pairs:?}");
        }
        assert_eq!(KafkaSecurity::default().set("colour", "red"), Ok(false));
    }
}
