//! Frames: a length of four octets (big endian), then a postcard message or raw content.
//!
//! Both sides know from the conversation which of the two comes next. A frame that is too long ends
//! the conversation before it is read.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::SILENCE_MAX;
use crate::net::Stream;

/// Longest message.
pub const FRAME_BYTES_MAX: usize = 4 << 20;
/// Longest piece of content.
pub const CONTENT_BYTES_MAX: usize = 256 << 10;
/// What waits is sent once it is so much.
const FLUSH_BYTES: usize = 256 << 10;
const READ_BYTES: usize = 64 << 10;

/// Why a conversation ends.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer hung up.
    #[error("the peer hung up")]
    Closed,
    /// Nothing came for too long.
    #[error("the peer was silent for too long")]
    Silent,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A frame is longer than allowed.
    #[error("frame of {0} octets")]
    TooLong(usize),
    /// A message does not parse.
    #[error("malformed message: {0}")]
    Malformed(#[from] postcard::Error),
    /// The peer does not want to talk.
    #[error("refused: {0}")]
    Refused(String),
}

/// One conversation.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    read: BytesMut,
    out: BytesMut,
}

impl Link {
    /// A conversation over a stream.
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            read: BytesMut::new(),
            out: BytesMut::new(),
        }
    }

    /// Appends a message; it is sent with [`Self::flush`], or once much waits.
    pub async fn send<T: Serialize>(&mut self, message: &T) -> Result<(), LinkError> {
        let encoded = postcard::to_stdvec(message)?;
        self.frame(&encoded, FRAME_BYTES_MAX).await
    }

    /// Appends a piece of content of at most [`CONTENT_BYTES_MAX`].
    pub async fn send_content(&mut self, content: &[u8]) -> Result<(), LinkError> {
        self.frame(content, CONTENT_BYTES_MAX).await
    }

    async fn frame(&mut self, bytes: &[u8], max: usize) -> Result<(), LinkError> {
        let length = u32::try_from(bytes.len()).ok();
        let length = length
            .filter(|_| bytes.len() <= max)
            .ok_or(LinkError::TooLong(bytes.len()))?;
        self.out.put_u32(length);
        self.out.extend_from_slice(bytes);
        if self.out.len() >= FLUSH_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    /// Sends what waits.
    pub async fn flush(&mut self) -> Result<(), LinkError> {
        let sent = timeout(SILENCE_MAX, async {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await
        });
        sent.await.map_err(|_| LinkError::Silent)??;
        self.out.clear();
        Ok(())
    }

    /// The next message. Cancel-safe.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, LinkError> {
        let frame = self.receive_frame(FRAME_BYTES_MAX).await?;
        Ok(postcard::from_bytes(&frame)?)
    }

    /// The next piece of content. Cancel-safe.
    pub async fn receive_content(&mut self) -> Result<Bytes, LinkError> {
        self.receive_frame(CONTENT_BYTES_MAX).await
    }

    async fn receive_frame(&mut self, max: usize) -> Result<Bytes, LinkError> {
        loop {
            if self.read.len() >= 4 {
                let mut head = &self.read[..4];
                let length = head.get_u32() as usize;
                if length > max {
                    return Err(LinkError::TooLong(length));
                }
                if self.read.len() >= 4 + length {
                    self.read.advance(4);
                    return Ok(self.read.split_to(length).freeze());
                }
                self.read.reserve(4 + length - self.read.len());
            }
            self.read.reserve(READ_BYTES);
            let read = timeout(SILENCE_MAX, self.stream.read_buf(&mut self.read)).await;
            if read.map_err(|_| LinkError::Silent)?? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::{CONTENT_BYTES_MAX, Link, LinkError};
    use crate::net::Stream;

    fn pair() -> (Link, Link) {
        let (a, b) = tokio::io::duplex(1 << 20);
        (Link::new(Stream::Memory(a)), Link::new(Stream::Memory(b)))
    }

    #[tokio::test]
    async fn messages_and_content_arrive_in_order() {
        let (mut one, mut other) = pair();
        one.send(&("hello", 7_u32)).await.unwrap();
        one.send_content(b"\0\r\n.").await.unwrap();
        one.flush().await.unwrap();
        let message: (String, u32) = other.receive().await.unwrap();
        assert_eq!(message, ("hello".to_owned(), 7));
        assert_eq!(&*other.receive_content().await.unwrap(), b"\0\r\n.");
    }

    #[tokio::test]
    async fn a_frame_that_is_too_long_is_refused_by_its_head() {
        let (mut raw, stream) = tokio::io::duplex(64);
        raw.write_all(&[0xff; 4]).await.unwrap();
        let mut link = Link::new(Stream::Memory(stream));
        let error = link.receive_content().await.unwrap_err();
        assert!(matches!(error, LinkError::TooLong(0xffff_ffff)), "{error}");
        let (mut one, _other) = pair();
        let error = one.send_content(&vec![0; CONTENT_BYTES_MAX + 1]).await;
        assert!(matches!(error, Err(LinkError::TooLong(_))));
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_in_a_frame_is_noticed() {
        let (mut raw, stream) = tokio::io::duplex(64);
        raw.write_all(&[0, 0, 0, 9, 1, 2]).await.unwrap();
        drop(raw);
        let mut link = Link::new(Stream::Memory(stream));
        let error = link.receive_content().await.unwrap_err();
        assert!(matches!(error, LinkError::Closed), "{error}");
    }
}
