//! What each command does to a session.

use super::super::command::{Command, Mail, RecipientTo};
use super::super::reply::{EnhancedCode, Reply};
use super::{Chunk, Event, Input, Pending, Session, no_recipients, out_of_order};
use crate::sasl::{Mechanism, SaslError, ServerExchange, Step};

impl Session {
    pub(super) fn run(&mut self, command: Command) -> Result<(), Reply> {
        match command {
            Command::Lhlo(client) => self.lhlo(client),
            Command::Mail(mail) => self.mail(mail)?,
            Command::Recipient(recipient) => self.recipient(recipient)?,
            Command::Data => self.data()?,
            Command::Chunk { octets, last } => self.chunk(octets, last),
            Command::Reset => {
                self.drop_transaction();
                self.idle(Reply::new(250, EnhancedCode(2, 0, 0), "reset"));
            }
            Command::Noop => self.idle(Reply::new(250, EnhancedCode(2, 0, 0), "ok")),
            Command::Verify => {
                let text = "cannot verify, send mail and see";
                self.idle(Reply::new(252, EnhancedCode(2, 5, 2), text));
            }
            Command::Quit => {
                self.close(Reply::new(221, EnhancedCode(2, 0, 0), "bye"));
            }
            Command::StartTls => self.start_tls()?,
            Command::Auth { mechanism, initial } => self.auth(&mechanism, initial.as_deref())?,
        }
        Ok(())
    }

    fn lhlo(&mut self, client: String) {
        self.drop_transaction();
        self.greeted = true;
        self.queue.push_back(Event::Hello(client));
        let options = &self.options;
        let mut reply = Reply::bare(250, options.host.clone())
            .line("PIPELINING")
            .line("8BITMIME")
            .line("SMTPUTF8")
            .line("ENHANCEDSTATUSCODES")
            .line("CHUNKING")
            .line(format!("SIZE {}", options.message_octets_max));
        if options.start_tls {
            reply = reply.line("STARTTLS");
        }
        if !options.mechanisms.is_empty() && !self.authenticated {
            let names: Vec<_> = options.mechanisms.iter().map(|each| each.name()).collect();
            reply = reply.line(format!("AUTH {}", names.join(" ")));
        }
        if options.ignore_quota {
            reply = reply.line("IGNOREQUOTA");
        }
        self.idle(reply);
    }

    fn mail(&mut self, mail: Mail) -> Result<(), Reply> {
        if !self.greeted {
            return Err(out_of_order("LHLO comes first"));
        }
        if self.transaction.is_some() {
            return Err(out_of_order("a transaction is open"));
        }
        if mail
            .size
            .is_some_and(|size| size > self.options.message_octets_max)
        {
            return Err(Reply::too_large(self.options.message_octets_max));
        }
        self.pending = Some(Pending::Mail { utf8: mail.utf8 });
        self.queue.push_back(Event::Mail(mail));
        Ok(())
    }

    fn recipient(&mut self, recipient: RecipientTo) -> Result<(), Reply> {
        let open = self.transaction.as_ref();
        let open = open.ok_or_else(|| out_of_order("MAIL comes first"))?;
        if open.chunked {
            return Err(out_of_order("BDAT has begun"));
        }
        if open.recipients >= self.options.recipients_max {
            // Not a bad command: RFC 5321 section 4.5.3.1.10 has clients send the rest later.
            self.idle(Reply::new(
                452,
                EnhancedCode(4, 5, 3),
                "too many recipients",
            ));
            return Ok(());
        }
        self.pending = Some(Pending::Recipient);
        self.queue.push_back(Event::Recipient(recipient));
        Ok(())
    }

    fn data(&mut self) -> Result<(), Reply> {
        let open = self.transaction.as_ref();
        let open = open.ok_or_else(|| out_of_order("MAIL comes first"))?;
        if open.chunked {
            return Err(out_of_order("BDAT has begun"));
        }
        if open.recipients == 0 {
            return Err(no_recipients());
        }
        self.pending = Some(Pending::Data);
        self.queue.push_back(Event::Data);
        Ok(())
    }

    fn chunk(&mut self, octets: u64, last: bool) {
        let octets_max = self.options.message_octets_max;
        let open = self.transaction.as_mut().filter(|open| open.recipients > 0);
        let wanted = open.is_some();
        if let Some(open) = open {
            open.chunked = true;
            open.octets = open.octets.saturating_add(octets);
            open.too_large |= open.octets > octets_max;
        }
        self.input = Input::Chunk(Chunk {
            octets,
            left: octets,
            last,
            wanted,
        });
    }

    fn start_tls(&mut self) -> Result<(), Reply> {
        if !self.options.start_tls {
            let reply = Reply::new(502, EnhancedCode(5, 5, 1), "STARTTLS is not offered");
            return Err(reply);
        }
        if self.transaction.is_some() {
            return Err(out_of_order("a transaction is open"));
        }
        let reply = Reply::new(220, EnhancedCode(2, 0, 0), "start TLS now");
        self.queue.push_back(Event::Reply(reply));
        self.queue.push_back(Event::StartTls);
        self.input = Input::Nothing;
        Ok(())
    }

    fn auth(&mut self, mechanism: &str, initial: Option<&str>) -> Result<(), Reply> {
        if self.options.mechanisms.is_empty() {
            return Err(Reply::new(
                502,
                EnhancedCode(5, 5, 1),
                "AUTH is not offered",
            ));
        }
        if !self.greeted {
            return Err(out_of_order("LHLO comes first"));
        }
        if self.authenticated || self.transaction.is_some() {
            return Err(out_of_order("AUTH is possible once and before MAIL"));
        }
        let mechanism = Mechanism::parse(mechanism.as_bytes())
            .filter(|known| self.options.mechanisms.contains(known));
        let unknown = || Reply::new(504, EnhancedCode(5, 5, 4), "mechanism is not offered");
        let mechanism = mechanism.ok_or_else(unknown)?;
        let (exchange, step) = ServerExchange::start(mechanism, initial.map(str::as_bytes));
        self.input = Input::Sasl(exchange);
        self.sasl_step(step);
        Ok(())
    }

    pub(super) fn sasl_step(&mut self, step: Step) {
        if !matches!(step, Step::Challenge(_)) {
            self.input = Input::Commands;
        }
        match step {
            Step::Challenge(text) => {
                self.queue.push_back(Event::Reply(Reply::bare(334, text)));
            }
            Step::Done(credentials) => {
                self.pending = Some(Pending::Credentials);
                self.queue.push_back(Event::Credentials(credentials));
            }
            Step::Failed(error) => {
                let (code, enhanced) = match error {
                    SaslError::Cancelled => (501, EnhancedCode(5, 7, 0)),
                    SaslError::TooLong => (500, EnhancedCode(5, 5, 6)),
                    SaslError::NotBase64 | SaslError::Malformed => (501, EnhancedCode(5, 5, 2)),
                };
                self.refuse(Reply::new(code, enhanced, error.to_string()));
            }
        }
    }
}
