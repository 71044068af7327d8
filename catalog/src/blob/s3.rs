//! Objects in a bucket of anything that speaks S3: AWS, SeaweedFS, Garage, RustFS, MinIO.
//!
//! Must not: depend on what only one of them does, or show a credential in output or errors.

mod multipart;
mod send;

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use aws_sdk_s3::{
    Client,
    config::{
        BehaviorVersion, Builder, Credentials, Region, RequestChecksumCalculation,
        ResponseChecksumValidation, StalledStreamProtectionConfig, timeout::TimeoutConfig,
    },
    error::{ProvideErrorMetadata, SdkError},
    presigning::PresigningConfig,
    primitives::DateTime,
    types::{CorsConfiguration, CorsRule},
};
use jiff::Timestamp;

use super::{
    BlobError, BlobKey, BlobReader, ListPage, ListedObject, ObjectMeta, PresignGet,
    disposition::header_mime,
};

/// Longest object that is copied in one request; S3 takes 5 GiB.
const COPY_MAX_BYTES: u64 = 1024 * 1024 * 1024;
/// Longest file that is sent in one request; S3 takes 5 GiB, and what fails is sent again from its start.
const SEND_MAX_BYTES: u64 = 64 * 1024 * 1024;
/// How long a store that is there may take to be connected to.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the store may take to begin its answer, and to go on with a body. Each of the SDK's three
/// tries has as long.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// What the store does with an object's bytes before it answers may take so many times as long.
const WORK_FACTOR: u32 = 20;
/// A store that takes a body more slowly than this is given up; four parts of a file share a line.
const SEND_BYTES_PER_SEC_MIN: u64 = 32 * 1024;
/// How long browsers keep the answer to a preflight.
const CORS_MAX_AGE_SECS: i32 = 3600;

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
    /// Longest object that is copied in one request.
    copy_max_bytes: u64,
    /// Longest file that is sent in one request, and length of the parts of longer ones.
    send_max_bytes: u64,
    answer_timeout: Duration,
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
            copy_max_bytes: COPY_MAX_BYTES,
            send_max_bytes: SEND_MAX_BYTES,
            answer_timeout: ANSWER_TIMEOUT,
        }
    }

    /// Copies longer objects in parts of this length, instead of 1 GiB. For tests.
    #[must_use]
    pub fn copying_in_parts_of(self, copy_max_bytes: u64) -> Self {
        Self { copy_max_bytes, ..self }
    }

    /// Sends longer files in parts of this length, instead of 64 MiB. For tests.
    #[must_use]
    pub fn sending_in_parts_of(self, send_max_bytes: u64) -> Self {
        Self { send_max_bytes, ..self }
    }

    /// Gives up a store that stays silent for this long, instead of 30 s. For tests.
    #[must_use]
    pub fn answered_within(self, answer_timeout: Duration) -> Self {
        let config = giving_up_after(self.client.config().to_builder(), answer_timeout);
        Self { client: Client::from_conf(config.build()), answer_timeout, ..self }
    }

    /// Lets pages of these origins read and write by signed links, and read the `ETag` of what they
    /// wrote. Replaces the bucket's rules unless they say so already.
    ///
    /// # Errors
    /// When the store refuses, or does not know CORS.
    pub async fn allow_origins(&self, origins: &[String]) -> Result<(), BlobError> {
        let error = |error| s3_error("set CORS of bucket", &*self.bucket, &error);
        let methods = ["GET", "PUT", "HEAD"].map(str::to_owned);
        let rule = CorsRule::builder()
            .set_allowed_origins(Some(origins.to_vec()))
            .set_allowed_methods(Some(methods.into()))
            .allowed_headers("*")
            .expose_headers("ETag")
            .max_age_seconds(CORS_MAX_AGE_SECS)
            .build();
        let rule = rule.map_err(|error| BlobError::S3 {
            action: "set CORS of bucket",
            what: self.bucket.to_string(),
            reason: reason_chain(&error),
        })?;
        let rules = CorsConfiguration::builder().cors_rules(rule).build();
        let rules = rules.map_err(|error| BlobError::S3 {
            action: "set CORS of bucket",
            what: self.bucket.to_string(),
            reason: reason_chain(&error),
        })?;
        // A bucket without rules answers 404, and a store without CORS will say so below.
        let present = self.client.get_bucket_cors().bucket(&*self.bucket).send().await;
        if present.is_ok_and(|present| present.cors_rules() == rules.cors_rules()) {
            return Ok(());
        }
        let set = self.client.put_bucket_cors().bucket(&*self.bucket).cors_configuration(rules);
        set.send().await.map(drop).map_err(error)
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

    pub(super) async fn head(&self, key: &BlobKey) -> Result<Option<ObjectMeta>, BlobError> {
        let request = self.client.head_object().bucket(&*self.bucket).key(key.as_str());
        match request.send().await {
            Ok(head) => Ok(Some(ObjectMeta {
                len_bytes: len_bytes(head.content_length),
                stamp: head.e_tag.unwrap_or_default(),
                modified: timestamp(head.last_modified.as_ref()),
                mime: head.content_type,
                metadata: head.metadata.unwrap_or_default().into_iter().collect(),
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
                metadata: BTreeMap::new(),
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
        let signing = signing(key, ttl, now)?;
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

/// What a signed link says besides its request.
fn signing(key: &BlobKey, ttl: Duration, now: Timestamp) -> Result<PresigningConfig, BlobError> {
    let signing = PresigningConfig::builder().start_time(SystemTime::from(now)).expires_in(ttl);
    signing.build().map_err(|error| BlobError::S3 {
        action: "sign a link to",
        what: key.to_string(),
        reason: reason_chain(&error),
    })
}

/// With what bounds every call. Not the time a body takes on its way here: a long download that goes on is
/// never cut, and one that stands still is.
fn giving_up_after(config: Builder, answer_timeout: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .operation_attempt_timeout(answer_timeout);
    let stalled = StalledStreamProtectionConfig::enabled().grace_period(answer_timeout);
    config.timeout_config(timeouts.build()).stalled_stream_protection(stalled.build())
}

/// For a call that may take longer than others.
fn taking(attempt_timeout: Duration) -> Builder {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(attempt_timeout);
    Builder::new().timeout_config(timeouts.build())
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
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(giving_up_after(sdk_config, ANSWER_TIMEOUT).build())
}

fn len_bytes(len: Option<i64>) -> u64 {
    len.and_then(|len| u64::try_from(len).ok()).unwrap_or(0)
}

fn timestamp(time: Option<&DateTime>) -> Option<Timestamp> {
    time.and_then(|time| Timestamp::from_second(time.secs()).ok())
}

/// Whether the store says that there is no such object or upload. A proxy before it, or a store without the
/// bucket, answers 404 as well.
fn is_not_found<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    match error.as_service_error().and_then(ProvideErrorMetadata::code) {
        Some("NoSuchKey" | "NoSuchUpload") => true,
        // What the SDK makes of a 404 without a body, as every answer to a HEAD is. Of a store it has one of
        // these two headers: Garage 2 sends no id.
        Some("NotFound") => error.raw_response().is_some_and(|response| {
            let headers = response.headers();
            headers.contains_key("x-amz-request-id")
                || headers.get("content-type").is_some_and(|mime| mime.contains("xml"))
        }),
        _ => false,
    }
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
