//! Bytes and files on their way into a bucket, long ones in parts.
//!
//! Must not: hold a file in memory, or leave the parts of one that failed.

use std::{path::Path, time::Duration};

use aws_sdk_s3::primitives::{ByteStream, FsBuilder, Length};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};

use super::{
    S3Store, SEND_BYTES_PER_SEC_MIN,
    multipart::{bad_answer, signed_len},
    reason_chain, s3_error, taking,
};
use crate::blob::{
    BlobError, BlobKey, MultipartId, ObjectInfo, PARTS_MAX, PartNumber, disposition::header_mime,
};

/// Parts of one file on their way at once.
const SENDERS: usize = 4;

impl S3Store {
    pub(in crate::blob) async fn put_bytes(
        &self,
        key: &BlobKey,
        body: Bytes,
        mime: &str,
    ) -> Result<(), BlobError> {
        let len_bytes = body.len() as u64;
        self.put(key, body.into(), len_bytes, mime).await
    }

    pub(in crate::blob) async fn put_file(
        &self,
        key: &BlobKey,
        path: &Path,
        mime: &str,
    ) -> Result<(), BlobError> {
        let meta = tokio::fs::metadata(path).await.map_err(|source| BlobError::File {
            action: "send",
            what: path.display().to_string(),
            source,
        })?;
        let len_bytes = meta.len();
        if len_bytes <= self.send_max_bytes {
            let body = read_from(path, 0, len_bytes).await?;
            return self.put(key, body, len_bytes, mime).await;
        }
        let info = ObjectInfo { mime: mime.to_owned(), ..ObjectInfo::default() };
        let id = self.create_multipart(key, &info).await?;
        let sent = self.send_parts(key, &id, path, len_bytes).await;
        if sent.is_err() {
            // If this fails as well, it ends with the other stale ones.
            let _ = self.abort_multipart(key, &id).await;
        }
        sent
    }

    async fn put(
        &self,
        key: &BlobKey,
        body: ByteStream,
        len_bytes: u64,
        mime: &str,
    ) -> Result<(), BlobError> {
        let request = self.client.put_object().bucket(&*self.bucket).key(key.as_str());
        let request = request.content_type(header_mime(mime)).body(body).customize();
        let sent = request.config_override(taking(self.send_timeout(len_bytes))).send().await;
        sent.map(drop).map_err(|error| s3_error("write", key, &error))
    }

    /// Sends a file in parts, and has them put together.
    async fn send_parts(
        &self,
        key: &BlobKey,
        id: &MultipartId,
        path: &Path,
        len_bytes: u64,
    ) -> Result<(), BlobError> {
        let parts = parts(len_bytes, self.send_max_bytes).into_iter();
        let sent = parts.map(|part| self.send_part(key, id, path, part));
        let sent: Vec<_> = stream::iter(sent).buffered(SENDERS).try_collect().await?;
        self.put_together("write", key, id, &sent).await
    }

    async fn send_part(
        &self,
        key: &BlobKey,
        id: &MultipartId,
        path: &Path,
        Part { number, start, len_bytes }: Part,
    ) -> Result<(PartNumber, String), BlobError> {
        let request = self.client.upload_part().bucket(&*self.bucket).key(key.as_str());
        let request = request.upload_id(id.as_str()).part_number(number.get().into());
        let request = request
            .content_length(signed_len(len_bytes))
            .body(read_from(path, start, len_bytes).await?)
            .customize();
        let sent = request.config_override(taking(self.send_timeout(len_bytes))).send().await;
        let sent = sent.map_err(|error| s3_error("write", key, &error))?;
        let etag = sent.e_tag.ok_or_else(|| bad_answer("write", key, "a part has no etag"))?;
        Ok((number, etag))
    }

    /// How long a body of that length may be on its way.
    fn send_timeout(&self, len_bytes: u64) -> Duration {
        self.answer_timeout + Duration::from_secs(len_bytes / SEND_BYTES_PER_SEC_MIN)
    }
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Part {
    number: PartNumber,
    start: u64,
    len_bytes: u64,
}

/// Parts of a file of that length: of `part_bytes` each, or longer ones when there would be too many.
fn parts(len_bytes: u64, part_bytes: u64) -> Vec<Part> {
    let part_bytes = part_bytes.max(len_bytes.div_ceil(PARTS_MAX.into()));
    let numbers = (1..=PARTS_MAX).filter_map(PartNumber::new);
    let parts = numbers.map(|number| {
        let start = u64::from(number.get() - 1) * part_bytes;
        Part { number, start, len_bytes: part_bytes.min(len_bytes.saturating_sub(start)) }
    });
    parts.take_while(|part| part.len_bytes > 0).collect()
}

/// A piece of a file, read as it is sent, and again if it has to be sent again.
async fn read_from(path: &Path, start: u64, len_bytes: u64) -> Result<ByteStream, BlobError> {
    let piece = FsBuilder::new().path(path).offset(start).length(Length::Exact(len_bytes));
    piece.build().await.map_err(|error| BlobError::S3 {
        action: "send",
        what: path.display().to_string(),
        reason: reason_chain(&error),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_cover_a_file_without_gaps(len_bytes in 1..1_u64 << 45, part_bytes in 1..1_u64 << 30) {
            let parts = parts(len_bytes, part_bytes);
            let mut end = 0;
            for (index, part) in parts.iter().enumerate() {
                prop_assert_eq!((usize::from(part.number.get()), part.start), (index + 1, end));
                end += part.len_bytes;
            }
            prop_assert_eq!(end, len_bytes);
        }
    }
}
