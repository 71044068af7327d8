//! Objects in a bucket of anything that speaks S3: AWS, SeaweedFS, Garage, RustFS, MinIO.
//!
//! Must not: depend on what only one of them does, or show a credential in output or errors.

use std::{
    error::Error,
    fmt,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation,
    },
    error::{ProvideErrorMetadata, SdkError},
    presigning::PresigningConfig,
    primitives::{ByteStream, DateTime},
};
use bytes::Bytes;
use jiff::Timestamp;

use super::{
    BlobError, BlobKey, BlobReader, ListPage, ListedObject, ObjectMeta, PresignGet,
    disposition::header_mime,
};

/// Where a bucket is and how to get in.
#[derive(Clone)]
pub struct S3Config {
    /// Where this process reaches the store, `http://127.0.0.1:8333`.
    pub endpoint: String,
    /// Where browsers reach it, if elsewhere: signed links begin with this.
    pub public_endpoint: Option<String>,
    /// Region name; stores other than AWS mostly take any.
    pub region: String,
    /// Bucket name.
    pub bucket: String,
    /// Access key id.
    pub access_key: String,
    /// Secret access key.
    pub secret_key: String,
}

impl fmt::Debug for S3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Config")
            .field("endpoint", &self.endpoint)
            .field("public_endpoint", &self.public_endpoint)
            .field("region", &self.region)
            .field("bucket", &self.bucket)
            .finish_non_exhaustive()
    }
}

/// Blob store in an S3 bucket; cheap to clone.
#[derive(Clone)]
pub struct S3Store {
    bucket: Arc<str>,
    client: Client,
    /// Signs for the endpoint that browsers see; sends nothing.
    signer: Client,
}

impl fmt::Debug for S3Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Store").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}

impl S3Store {
    /// A store in the bucket of `config`. Does not connect; ask [`super::BlobStore::ping`].
    pub fn new(config: &S3Config) -> Self {
        let public_endpoint = config.public_endpoint.as_ref().unwrap_or(&config.endpoint);
        Self {
            bucket: config.bucket.as_str().into(),
            client: client(config, &config.endpoint),
            signer: client(config, public_endpoint),
        }
    }

    /// Makes the bucket unless it is there.
    ///
    /// # Errors
    /// When the store cannot be reached or refuses.
    pub async fn ensure_bucket(&self) -> Result<(), BlobError> {
        if self.ping().await.is_ok() {
            return Ok(());
        }
        let made = self.client.create_bucket().bucket(&*self.bucket).send().await;
        made.map(drop).map_err(|error| s3_error("make bucket", &*self.bucket, &error))
    }

    pub(super) async fn ping(&self) -> Result<(), BlobError> {
        let answer = self.client.head_bucket().bucket(&*self.bucket).send().await;
        answer.map(drop).map_err(|error| s3_error("reach bucket", &*self.bucket, &error))
    }

    pub(super) async fn put_file(
        &self,
        key: &BlobKey,
        path: &Path,
        mime: &str,
    ) -> Result<(), BlobError> {
        let body = ByteStream::from_path(path).await.map_err(|error| BlobError::S3 {
            action: "send",
            what: path.display().to_string(),
            reason: reason_chain(&error),
        })?;
        self.put(key, body, mime).await
    }

    pub(super) async fn put_bytes(
        &self,
        key: &BlobKey,
        body: Bytes,
        mime: &str,
    ) -> Result<(), BlobError> {
        self.put(key, body.into(), mime).await
    }

    async fn put(&self, key: &BlobKey, body: ByteStream, mime: &str) -> Result<(), BlobError> {
        let request = self.client.put_object().bucket(&*self.bucket).key(key.as_str());
        let sent = request.content_type(header_mime(mime)).body(body).send().await;
        sent.map(drop).map_err(|error| s3_error("write", key, &error))
    }

    pub(super) async fn head(&self, key: &BlobKey) -> Result<Option<ObjectMeta>, BlobError> {
        let request = self.client.head_object().bucket(&*self.bucket).key(key.as_str());
        match request.send().await {
            Ok(head) => Ok(Some(ObjectMeta {
                len_bytes: len_bytes(head.content_length),
                stamp: head.e_tag.unwrap_or_default(),
                modified: timestamp(head.last_modified.as_ref()),
                mime: head.content_type,
            })),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(s3_error("look at", key, &error)),
        }
    }

    pub(super) async fn open_object(&self, key: &BlobKey) -> Result<(u64, BlobReader), BlobError> {
        let request = self.client.get_object().bucket(&*self.bucket).key(key.as_str());
        match request.send().await {
            Ok(object) => {
                let len_bytes = len_bytes(object.content_length);
                Ok((len_bytes, Box::pin(object.body.into_async_read())))
            }
            Err(error) if is_not_found(&error) => Err(BlobError::NotFound { key: key.clone() }),
            Err(error) => Err(s3_error("read", key, &error)),
        }
    }

    pub(super) async fn list(
        &self,
        prefix: &str,
        start_after: Option<&str>,
        limit: usize,
    ) -> Result<ListPage, BlobError> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        let request = self.client.list_objects_v2().bucket(&*self.bucket).max_keys(limit);
        let request = request.prefix(prefix).set_start_after(start_after.map(str::to_owned));
        let page = request.send().await.map_err(|error| s3_error("list", prefix, &error))?;

        let listed = page.contents.unwrap_or_default();
        let is_truncated = page.is_truncated.unwrap_or(false);
        let next = listed.last().and_then(|last| last.key.clone()).filter(|_| is_truncated);
        let objects = listed.into_iter().filter_map(|object| {
            // Keys that no path can have, and the empty "folders" that consoles make, are left out.
            let key: BlobKey = object.key?.parse().ok()?;
            let meta = ObjectMeta {
                len_bytes: len_bytes(object.size),
                stamp: object.e_tag.unwrap_or_default(),
                modified: timestamp(object.last_modified.as_ref()),
                mime: None,
            };
            Some(ListedObject { key, meta })
        });
        Ok(ListPage { objects: objects.collect(), unreadable: Vec::new(), next })
    }

    pub(super) async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        let request = self.client.delete_object().bucket(&*self.bucket).key(key.as_str());
        match request.send().await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(s3_error("delete", key, &error)),
        }
    }

    pub(super) async fn presign_get(
        &self,
        key: &BlobKey,
        ttl: Duration,
        get: &PresignGet,
        now: Timestamp,
    ) -> Result<String, BlobError> {
        let signing = PresigningConfig::builder()
            .start_time(SystemTime::from(now))
            .expires_in(ttl)
            .build()
            .map_err(|error| BlobError::S3 {
                action: "sign a link to",
                what: key.to_string(),
                reason: reason_chain(&error),
            })?;
        let request = self
            .signer
            .get_object()
            .bucket(&*self.bucket)
            .key(key.as_str())
            .response_content_type(header_mime(&get.content_type))
            .response_content_disposition(get.disposition.header_value());
        match request.presigned(signing).await {
            Ok(signed) => Ok(signed.uri().to_owned()),
            Err(error) => Err(s3_error("sign a link to", key, &error)),
        }
    }
}

fn client(config: &S3Config, endpoint: &str) -> Client {
    let credentials =
        Credentials::new(&config.access_key, &config.secret_key, None, None, "damwall config");
    let sdk_config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::new(config.region.clone()))
        .endpoint_url(endpoint)
        .credentials_provider(credentials)
        .force_path_style(true)
        // The SDK's own default adds CRC32, which several stores and presigned requests trip over
        // (aws-sdk-rust#1240).
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired)
        .build();
    Client::from_conf(sdk_config)
}

fn len_bytes(len: Option<i64>) -> u64 {
    len.and_then(|len| u64::try_from(len).ok()).unwrap_or(0)
}

fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok())
}

fn is_not_found<E>(error: &SdkError<E>) -> bool {
    error.raw_response().is_some_and(|response| response.status().as_u16() == 404)
}

fn s3_error<E>(action: &'static str, what: impl fmt::Display, error: &SdkError<E>) -> BlobError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let reason = match error.as_service_error().map(ProvideErrorMetadata::meta) {
        Some(meta) if meta.code().is_some() => {
            format!("{} ({})", meta.message().unwrap_or("refused"), meta.code().unwrap_or("?"))
        }
        _ => match error.raw_response() {
            Some(response) => format!("the store answered {}", response.status()),
            None => reason_chain(error),
        },
    };
    BlobError::S3 { action, what: what.to_string(), reason }
}

/// An error and what caused it, in one line.
fn reason_chain(error: &dyn Error) -> String {
    let mut reason = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_in_debug_output() {
        let config = S3Config {
            endpoint: "http://127.0.0.1:8333".into(),
            public_endpoint: None,
            region: "us-east-1".into(),
            bucket: "media".into(),
            access_key: "the-access-key".into(),
            secret_key: "the-secret-key".into(),
        };
        let shown = format!("{config:?} {:?}", S3Store::new(&config));
        assert!(shown.contains("media"));
        assert!(!shown.contains("the-access-key") && !shown.contains("the-secret-key"), "{shown}");
    }
}
