//! APPEND through a frontend: the backend is asked first, then the message is streamed.

use bytes::Bytes;
use murder_proto::imap::client::{Event as Answer, Kind};
use murder_proto::imap::command::Append;
use murder_proto::imap::server::{AppendReceived, Event};

use super::relay::Outcome;
use super::{Reply, Session};
use crate::frontend::Target;
use crate::frontend::router::HOPS_MAX;
use crate::imap::login::bad;
use crate::imap::{End, write};

/// What the backend said to an APPEND that waits for leave to send its message.
enum Leave {
    Granted(usize),
    Answered(Outcome),
}

impl Session {
    pub(super) async fn append(&mut self, received: AppendReceived) -> Result<(), End> {
        let AppendReceived { tag, append, .. } = received;
        let mut target = match self.locate(&append.mailbox).await? {
            Ok(target) => target,
            Err(reply) => {
                self.wire.reader.refuse_append();
                self.reply(&tag, reply.try_create());
                return Ok(());
            }
        };
        for _ in 0..=HOPS_MAX {
            match self.ask_leave(&target, &tag, &append).await? {
                Leave::Granted(index) => return self.stream(index, &tag).await,
                Leave::Answered(Outcome::Answered(_)) => {
                    self.wire.reader.refuse_append();
                    return Ok(());
                }
                Leave::Answered(Outcome::Moved(moved)) => {
                    match self.follow(&append.mailbox, &moved).await {
                        Ok(next) => target = next,
                        Err(reply) => {
                            self.wire.reader.refuse_append();
                            self.reply(&tag, reply.try_create());
                            return Ok(());
                        }
                    }
                }
                Leave::Answered(Outcome::Lost | Outcome::Cordoned) => break,
            }
        }
        self.wire.reader.refuse_append();
        self.reply(&tag, Reply::unavailable());
        Ok(())
    }

    /// Sends the command up to its message and waits for `+`.
    async fn ask_leave(
        &mut self,
        target: &Target,
        tag: &Bytes,
        append: &Append,
    ) -> Result<Leave, End> {
        let Ok(index) = self.link(target).await else {
            return Ok(Leave::Answered(Outcome::Lost));
        };
        if self.links[index].send(&head(tag, append)).await.is_err() {
            return self.lose(index).map(Leave::Answered);
        }
        loop {
            let Ok(event) = self.links[index].event().await else {
                return self.lose(index).map(Leave::Answered);
            };
            if let Answer::Response(response) = &event {
                match response.kind() {
                    Kind::Continuation => return Ok(Leave::Granted(index)),
                    Kind::Tagged => {
                        return Ok(Leave::Answered(self.tagged_answer(response)));
                    }
                    Kind::Untagged if super::link::is_bye(response) => {
                        return self.bye(index, response).await.map(Leave::Answered);
                    }
                    Kind::Untagged => {}
                }
            }
            self.wire.out.extend_from_slice(event.bytes());
        }
    }

    /// Passes the message on as it comes, then the answer back.
    async fn stream(&mut self, index: usize, tag: &Bytes) -> Result<(), End> {
        self.wire.reader.accept_append();
        // A backend that is lost meanwhile still has the client's message read to its end.
        let mut lost = false;
        loop {
            let (bytes, is_end) = match self.wire.event().await? {
                Event::Continue => {
                    self.wire.line("+ go on");
                    continue;
                }
                Event::Literal(bytes) => (bytes, false),
                Event::AppendEnd(bytes) => (bytes, true),
                Event::Bad { tag, text } => {
                    // The backend waits for the rest of a message that does not come.
                    bad(&mut self.wire, tag.as_ref(), text);
                    return self.lose(index).map(|_| ());
                }
                Event::Fatal { text } => {
                    self.wire.line(&format!("* BYE {text}"));
                    return Err(End::Logout);
                }
                _ => continue,
            };
            lost = lost || self.links[index].send(&bytes).await.is_err();
            if is_end {
                break;
            }
        }
        let outcome = if lost {
            self.lose(index)?
        } else {
            self.answer(index, tag).await?
        };
        if !matches!(outcome, Outcome::Answered(_)) {
            self.reply(tag, Reply::unavailable());
        }
        Ok(())
    }
}

/// The command up to the header of its literal, which waits for the backend.
fn head(tag: &[u8], append: &Append) -> Vec<u8> {
    let mut out = tag.to_vec();
    out.extend_from_slice(b" APPEND ");
    if append
        .mailbox
        .iter()
        .all(|byte| (0x20..0x7f).contains(byte))
    {
        write::string(&mut out, &append.mailbox);
    } else {
        out.extend_from_slice(format!("{{{}+}}\r\n", append.mailbox.len()).as_bytes());
        out.extend_from_slice(&append.mailbox);
    }
    out.push(b' ');
    if !append.flags.is_empty() {
        out.push(b'(');
        out.extend_from_slice(&append.flags.join(&b' '));
        out.extend_from_slice(b") ");
    }
    if let Some(date) = &append.date {
        out.extend_from_slice(format!("\"{date}\" ").as_bytes());
    }
    out.extend_from_slice(format!("{{{}}}\r\n", append.size).as_bytes());
    out
}
