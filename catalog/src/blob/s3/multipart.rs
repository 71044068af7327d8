//! Writes that do not go through this process, and uploads in parts. Source: Amazon S3 API Reference.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use aws_sdk_s3::{
    config::Builder,
    error::ProvideErrorMetadata,
    types::{CompletedMultipartUpload, CompletedPart},
};
use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::{S3Store, WORK_FACTOR, is_not_found, len_bytes, s3_error, signing, taking, timestamp};
use crate::blob::{
    BlobError, BlobKey, Completed, MultipartId, ObjectInfo, PartNumber, StoredPart,
    disposition::header_mime,
};

/// What a key keeps as it is in `x-amz-copy-source`.
const COPY_SOURCE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Answers to a completion that asking again would not change.
const PART_ERRORS: [&str; 4] =
    ["InvalidPart", "InvalidPartOrder", "EntityTooSmall", "MalformedXML"];

impl S3Store {
    pub(in crate::blob) async fn presign_part(
        &self,
        key: &BlobKey,
        (id, number): (&MultipartId, PartNumber),
        len_bytes: u64,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<String, BlobError> {
        let request = self
            .signer
            .upload_part()
            .bucket(&*self.bucket)
            .key(key.as_str())
            .upload_id(id.as_str())
            .part_number(number.get().into())
            .content_length(signed_len(len_bytes));
        match request.presigned(signing(key, ttl, now)?).await {
            Ok(signed) => Ok(signed.uri().to_owned()),
            Err(error) => Err(s3_error("sign a link to", key, &error)),
        }
    }

    pub(in crate::blob) async fn create_multipart(
        &self,
        key: &BlobKey,
        info: &ObjectInfo,
    ) -> Result<MultipartId, BlobError> {
        let request = self.client.create_multipart_upload().bucket(&*self.bucket);
        let created = request
            .key(key.as_str())
            .content_type(header_mime(&info.mime))
            .set_metadata(Some(info.metadata.clone().into_iter().collect()))
            .send()
            .await
            .map_err(|error| s3_error("begin an upload of", key, &error))?;
        let id = created.upload_id.unwrap_or_default();
        id.parse().map_err(|_| bad_answer("begin an upload of", key, "the upload has no name"))
    }

    pub(in crate::blob) async fn list_parts(
        &self,
        key: &BlobKey,
        id: &MultipartId,
    ) -> Result<Option<Vec<StoredPart>>, BlobError> {
        // SeaweedFS lists every version of a part that was sent twice; the latest counts.
        let mut parts = BTreeMap::new();
        let mut marker = None;
        loop {
            let request = self.client.list_parts().bucket(&*self.bucket).key(key.as_str());
            let request = request.upload_id(id.as_str()).set_part_number_marker(marker);
            let page = match request.send().await {
                Ok(page) => page,
                Err(error) if is_not_found(&error) => return Ok(None),
                Err(error) => return Err(s3_error("list the parts of", key, &error)),
            };
            let is_truncated = page.is_truncated.unwrap_or(false);
            marker = page.next_part_number_marker.filter(|_| is_truncated);
            for part in page.parts.unwrap_or_default() {
                let number = part.part_number.and_then(|number| u16::try_from(number).ok());
                let Some((number, etag)) = number.and_then(PartNumber::new).zip(part.e_tag) else {
                    continue;
                };
                let at = timestamp(part.last_modified.as_ref());
                let part = StoredPart { number, etag, len_bytes: len_bytes(part.size) };
                if parts.get(&number).is_none_or(|(earlier, _)| *earlier <= at) {
                    parts.insert(number, (at, part));
                }
            }
            if marker.is_none() {
                return Ok(Some(parts.into_values().map(|(_, part)| part).collect()));
            }
        }
    }

    pub(in crate::blob) async fn complete_multipart(
        &self,
        key: &BlobKey,
        id: &MultipartId,
        parts: &[(PartNumber, String)],
    ) -> Result<Completed, BlobError> {
        let parts = parts.iter().map(|(number, etag)| {
            CompletedPart::builder().part_number(number.get().into()).e_tag(etag).build()
        });
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts.collect())).build();
        let request = self.client.complete_multipart_upload().bucket(&*self.bucket);
        let request = request.key(key.as_str()).upload_id(id.as_str()).multipart_upload(parts);
        match request.customize().config_override(self.working()).send().await {
            Ok(_) => Ok(Completed::Stored),
            Err(error) if is_not_found(&error) => Ok(Completed::Gone),
            Err(error) => {
                let code = error.as_service_error().and_then(ProvideErrorMetadata::code);
                if code.is_some_and(|code| PART_ERRORS.contains(&code)) {
                    return Ok(Completed::Refused(s3_error("complete", key, &error).to_string()));
                }
                Err(s3_error("complete the upload of", key, &error))
            }
        }
    }

    pub(in crate::blob) async fn abort_multipart(
        &self,
        key: &BlobKey,
        id: &MultipartId,
    ) -> Result<(), BlobError> {
        let request = self.client.abort_multipart_upload().bucket(&*self.bucket);
        match request.key(key.as_str()).upload_id(id.as_str()).send().await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(s3_error("end the upload of", key, &error)),
        }
    }

    pub(in crate::blob) async fn abort_multiparts(
        &self,
        prefix: &str,
        before: Timestamp,
        keep: &HashSet<BlobKey>,
    ) -> Result<u64, BlobError> {
        let mut aborted = 0;
        let (mut key_marker, mut id_marker) = (None, None);
        loop {
            let request = self.client.list_multipart_uploads().bucket(&*self.bucket);
            let request = request.prefix(prefix).set_key_marker(key_marker);
            let page = request
                .set_upload_id_marker(id_marker)
                .send()
                .await
                .map_err(|error| s3_error("list the uploads below", prefix, &error))?;
            let is_truncated = page.is_truncated.unwrap_or(false);
            for upload in page.uploads.unwrap_or_default() {
                let begun = timestamp(upload.initiated.as_ref());
                let key = upload.key.and_then(|key| key.parse::<BlobKey>().ok());
                let id = upload.upload_id.and_then(|id| id.parse().ok());
                let (Some(key), Some(id)) = (key, id) else { continue };
                // Some stores do not keep to the prefix.
                let is_meant = key.as_str().starts_with(prefix) && !keep.contains(&key);
                if is_meant && begun.is_some_and(|begun| begun < before) {
                    self.abort_multipart(&key, &id).await?;
                    aborted += 1;
                }
            }
            (key_marker, id_marker) = (page.next_key_marker, page.next_upload_id_marker);
            if !is_truncated || key_marker.is_none() {
                return Ok(aborted);
            }
        }
    }

    /// Copies within the store, then deletes. A failure in between leaves both.
    pub(in crate::blob) async fn move_object(
        &self,
        from: &BlobKey,
        to: &BlobKey,
    ) -> Result<(), BlobError> {
        let meta = self.head(from).await?;
        let meta = meta.ok_or_else(|| BlobError::NotFound { key: from.clone() })?;
        let source = format!("{}/{}", self.bucket, utf8_percent_encode(from.as_str(), COPY_SOURCE));
        if meta.len_bytes <= self.copy_max_bytes {
            let request = self.client.copy_object().bucket(&*self.bucket).key(to.as_str());
            let request = request.copy_source(source).customize();
            let copied = request.config_override(self.working()).send().await;
            copied.map_err(|error| s3_error("copy to", to, &error))?;
        } else {
            self.copy_in_parts(&source, meta.len_bytes, to, meta.mime, meta.metadata).await?;
        }
        // A copy that is not all there must not take the place of its original.
        let copy = self.head(to).await?.map(|copy| copy.len_bytes);
        if copy != Some(meta.len_bytes) {
            return Err(bad_answer("copy to", to, "the copy has another length"));
        }
        self.delete(from).await
    }

    /// For calls in which the store copies or puts together long objects before it answers.
    fn working(&self) -> Builder {
        taking(self.answer_timeout * WORK_FACTOR)
    }

    async fn copy_in_parts(
        &self,
        source: &str,
        len_bytes: u64,
        to: &BlobKey,
        mime: Option<String>,
        metadata: BTreeMap<String, String>,
    ) -> Result<(), BlobError> {
        let info = ObjectInfo { mime: mime.unwrap_or_default(), metadata };
        let id = self.create_multipart(to, &info).await?;
        let copied = self.copy_parts(source, len_bytes, to, &id).await;
        if copied.is_err() {
            // If this fails as well, it ends with the other stale ones.
            let _ = self.abort_multipart(to, &id).await;
        }
        copied
    }

    /// Copies an object in parts, and has them put together.
    async fn copy_parts(
        &self,
        source: &str,
        len_bytes: u64,
        to: &BlobKey,
        id: &MultipartId,
    ) -> Result<(), BlobError> {
        let mut parts = Vec::new();
        let mut start = 0;
        while start < len_bytes {
            let end = len_bytes.min(start + self.copy_max_bytes);
            let number = u16::try_from(parts.len() + 1).ok().and_then(PartNumber::new);
            let number =
                number.ok_or_else(|| bad_answer("copy to", to, "the object is too long"))?;
            let copied = self
                .client
                .upload_part_copy()
                .bucket(&*self.bucket)
                .key(to.as_str())
                .upload_id(id.as_str())
                .part_number(number.get().into())
                .copy_source(source)
                .copy_source_range(format!("bytes={start}-{}", end - 1))
                .customize()
                .config_override(self.working())
                .send()
                .await
                .map_err(|error| s3_error("copy to", to, &error))?;
            let etag = copied.copy_part_result.and_then(|result| result.e_tag);
            let etag = etag.ok_or_else(|| bad_answer("copy to", to, "a part has no etag"))?;
            parts.push((number, etag));
            start = end;
        }
        self.put_together("copy to", to, id, &parts).await
    }

    /// Makes one object of parts that were only just sent: nobody else can have ended the upload.
    pub(super) async fn put_together(
        &self,
        action: &'static str,
        key: &BlobKey,
        id: &MultipartId,
        parts: &[(PartNumber, String)],
    ) -> Result<(), BlobError> {
        match self.complete_multipart(key, id, parts).await? {
            Completed::Stored => Ok(()),
            Completed::Gone => Err(bad_answer(action, key, "the upload was ended")),
            Completed::Refused(reason) => Err(bad_answer(action, key, &reason)),
        }
    }
}

pub(super) fn signed_len(len_bytes: u64) -> i64 {
    i64::try_from(len_bytes).unwrap_or(i64::MAX)
}

pub(super) fn bad_answer(action: &'static str, key: &BlobKey, reason: &str) -> BlobError {
    BlobError::S3 { action, what: key.to_string(), reason: reason.to_owned() }
}
