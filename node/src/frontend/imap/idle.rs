//! IDLE through a frontend (RFC 2177): what the backend says goes to the client until it is done.

use bytes::Bytes;
use murder_proto::imap::client::{Event as Answer, Kind};
use murder_proto::imap::server::Event;

use super::relay::Outcome;
use super::{Reply, Selected, Session};
use crate::imap::End;

impl Session {
    pub(super) async fn idle(&mut self, tag: &Bytes) -> Result<(), End> {
        match self.selected_link() {
            Some(index) => self.idle_at(index, tag).await,
            None if matches!(self.selected, Selected::Lost) => {
                self.reply(tag, Reply::lost());
                Ok(())
            }
            None => self.idle_alone(tag).await,
        }
    }

    /// Nothing is selected: there is nothing to tell.
    async fn idle_alone(&mut self, tag: &Bytes) -> Result<(), End> {
        self.wire.line("+ idling");
        self.wire.reader.expect_done();
        let event = self.wire.event().await?;
        self.done(tag, event)
    }

    fn done(&mut self, tag: &Bytes, event: Event) -> Result<(), End> {
        match event {
            Event::Done => self.reply(tag, Reply::ok()),
            Event::Fatal { text } => {
                self.wire.line(&format!("* BYE {text}"));
                return Err(End::Logout);
            }
            _ => self.reply(tag, Reply::bad("expected DONE")),
        }
        Ok(())
    }

    async fn idle_at(&mut self, index: usize, tag: &Bytes) -> Result<(), End> {
        if self.links[index].send(&idle_command(tag)).await.is_err() {
            self.lose(index)?;
            self.reply(tag, Reply::lost());
            return Ok(());
        }
        loop {
            match self.links[index].event().await {
                Ok(Answer::Response(response)) if response.kind() == Kind::Continuation => break,
                Ok(Answer::Response(response)) if response.kind() == Kind::Tagged => {
                    self.wire.out.extend_from_slice(response.raw());
                    return Ok(());
                }
                Ok(Answer::Response(response)) if super::link::is_bye(&response) => {
                    return self.bye(index, &response).await.map(|_| ());
                }
                Ok(event) => self.wire.out.extend_from_slice(event.bytes()),
                Err(_) => {
                    self.lose(index)?;
                    self.reply(tag, Reply::lost());
                    return Ok(());
                }
            }
        }
        self.wire.line("+ idling");
        self.wire.reader.expect_done();
        self.idling(index, tag).await
    }

    async fn idling(&mut self, index: usize, tag: &Bytes) -> Result<(), End> {
        let mut whole = true;
        loop {
            self.wire.flush().await?;
            tokio::select! {
                said = self.links[index].any_event() => {
                    let event = match said {
                        Ok(event) => event,
                        Err(_) if whole => {
                            self.lose(index)?;
                            return self.idle_lost(tag).await;
                        }
                        Err(_) => return Err(End::Closed),
                    };
                    whole = matches!(event, Answer::Response(_) | Answer::End(_));
                    if let Answer::Response(response) = &event
                        && super::link::is_bye(response)
                    {
                        return self.bye(index, response).await.map(|_| ());
                    }
                    self.wire.out.extend_from_slice(event.bytes());
                }
                event = self.wire.event(), if whole => match event? {
                    Event::Done => {
                        if self.links[index].send(b"DONE\r\n").await.is_err() {
                            self.lose(index)?;
                            self.reply(tag, Reply::ok());
                            return Ok(());
                        }
                        if matches!(self.answer(index, tag).await?, Outcome::Lost) {
                            self.reply(tag, Reply::ok());
                        }
                        return Ok(());
                    }
                    other => {
                        // The backend is still idling: it is asked anew when it is needed.
                        self.lose(index)?;
                        return self.done(tag, other);
                    }
                },
            }
        }
    }

    /// The backend is gone while the client idles: it idles on, and hears of it at the next command.
    async fn idle_lost(&mut self, tag: &Bytes) -> Result<(), End> {
        let event = self.wire.event().await?;
        self.done(tag, event)
    }
}

fn idle_command(tag: &[u8]) -> Vec<u8> {
    let mut out = tag.to_vec();
    out.extend_from_slice(b" IDLE\r\n");
    out
}
