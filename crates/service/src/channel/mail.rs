//! Alerts by mail.

use super::{Channel, Message, PATIENCE};
use crate::{Mail, MailTls};
use lettre::message::Mailbox;
use lettre::transport::smtp::authentication::Credentials;
use lettre::{SmtpTransport, Transport};
use std::path::PathBuf;

pub(super) struct Mailer {
    from: Mailbox,
    to: Vec<Mailbox>,
    settings: Mail,
}

impl Mailer {
    pub(super) fn new(settings: &Mail) -> Result<Self, String> {
        let mailbox = |text: &String| {
            text.parse::<Mailbox>().map_err(|cause| format!("'{text}' is no mail address: {cause}"))
        };
        let to = settings.to.iter().map(mailbox).collect::<Result<Vec<_>, _>>()?;
        if to.is_empty() {
            return Err("mail needs somebody to send it to".to_owned());
        }
        if settings.user.is_some() != settings.password_file.is_some() {
            return Err("mail needs user and password-file, or neither".to_owned());
        }
        Ok(Self { from: mailbox(&settings.from)?, to, settings: settings.clone() })
    }

    /// The password is read each time: it may be changed while the agent runs.
    fn login(&self) -> Result<Option<Credentials>, String> {
        let Some((user, file)) =
            self.settings.user.as_ref().zip(self.settings.password_file.as_ref())
        else {
            return Ok(None);
        };
        let cannot = |cause: std::io::Error, file: &PathBuf| {
            format!("its password cannot be read from {}: {cause}", file.display())
        };
        let text = std::fs::read_to_string(file).map_err(|cause| cannot(cause, file))?;
        let password = text.lines().next().unwrap_or_default().to_owned();
        Ok(Some(Credentials::new(user.clone(), password)))
    }
}

impl Channel for Mailer {
    fn send(&self, message: &Message) -> Result<(), String> {
        let mut mail =
            lettre::Message::builder().from(self.from.clone()).subject(message.subject());
        for to in &self.to {
            mail = mail.to(to.clone());
        }
        let mail =
            mail.body(message.text()).map_err(|cause| format!("it cannot be written: {cause}"))?;
        let server = self.settings.server.as_str();
        let builder = match self.settings.tls {
            MailTls::Starttls => SmtpTransport::starttls_relay(server),
            MailTls::Tls => SmtpTransport::relay(server),
            MailTls::None => Ok(SmtpTransport::builder_dangerous(server)),
        };
        let mut builder =
            builder.map_err(|cause| format!("{server}: {cause}"))?.timeout(Some(PATIENCE));
        if let Some(port) = self.settings.port {
            builder = builder.port(port);
        }
        if let Some(login) = self.login()? {
            builder = builder.credentials(login);
        }
        let sent = builder.build().send(&mail);
        sent.map(drop).map_err(|cause| format!("mail server {server}: {cause}"))
    }
}
