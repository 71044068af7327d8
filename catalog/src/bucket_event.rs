//! What a store says has happened to its objects: the record JSON of AWS S3, which MinIO and others
//! post to a webhook.
//!
//! Must not: believe anything in it but a key's name. What is true of the object, the store is asked.
//! Source: AWS S3 user guide, "Event message structure".

use serde::Deserialize;

use crate::blob::BlobKey;

/// Most records of one message; AWS and MinIO send one.
pub const MAX_RECORDS: usize = 1000;

/// One object that was written or removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketEvent {
    /// Bucket it is in.
    pub bucket: String,
    /// Its name.
    pub key: BlobKey,
}

/// What a message holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BucketEvents {
    /// Objects to be looked at, in order.
    pub events: Vec<BucketEvent>,
    /// Records of other things, or of keys that no object of ours can have.
    pub ignored: u64,
}

/// The message is not what a store sends; the sentence names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseEventsError {
    /// It is not JSON, or a field has another type.
    #[error("the body is not the record JSON of S3 events: {0}")]
    NotRecords(String),
    /// There are more records than [`MAX_RECORDS`].
    #[error("`Records` has more than {MAX_RECORDS} records")]
    TooMany,
    /// A key is not percent-encoded UTF-8.
    #[error("`Records[{0}].s3.object.key` is not percent-encoded UTF-8")]
    BadKey(usize),
}

#[derive(Deserialize)]
struct Message {
    // AWS's test message has none.
    #[serde(rename = "Records", default)]
    records: Option<Vec<Record>>,
}

#[derive(Deserialize)]
struct Record {
    #[serde(rename = "eventName", default)]
    event_name: String,
    s3: Entity,
}

#[derive(Deserialize)]
struct Entity {
    bucket: Bucket,
    object: Object,
}

#[derive(Deserialize)]
struct Bucket {
    name: String,
}

#[derive(Deserialize)]
struct Object {
    key: String,
}

/// Reads a message. Keys are decoded as forms are: `+` is a space, `%2F` a slash.
///
/// # Errors
/// See [`ParseEventsError`].
pub fn parse(body: &[u8]) -> Result<BucketEvents, ParseEventsError> {
    // To serde a list could stand for the object.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(ParseEventsError::NotRecords("line 1, column 1".to_owned()));
    }
    let message: Message = serde_json::from_slice(body).map_err(|error| {
        // Its place, not its words: they may quote what was sent.
        ParseEventsError::NotRecords(format!("line {}, column {}", error.line(), error.column()))
    })?;
    let records = message.records.unwrap_or_default();
    if records.len() > MAX_RECORDS {
        return Err(ParseEventsError::TooMany);
    }
    let mut found = BucketEvents::default();
    for (at, record) in records.into_iter().enumerate() {
        // MinIO writes `s3:ObjectCreated:Put`, AWS `ObjectCreated:Put`.
        let name = record.event_name.strip_prefix("s3:").unwrap_or(&record.event_name);
        let is_change = name.starts_with("ObjectCreated:") || name.starts_with("ObjectRemoved:");
        let encoded = record.s3.object.key.replace('+', " ");
        let key = percent_encoding::percent_decode_str(&encoded)
            .decode_utf8()
            .map_err(|_| ParseEventsError::BadKey(at))?;
        match key.parse::<BlobKey>() {
            Ok(key) if is_change => {
                found.events.push(BucketEvent { bucket: record.s3.bucket.name, key });
            }
            _ => found.ignored += 1,
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As MinIO posts it, shortened.
    const MINIO: &str = r#"{"EventName":"s3:ObjectCreated:Put","Key":"media/trip/a b.jpg","Records":[
        {"eventVersion":"2.0","eventSource":"minio:s3","awsRegion":"","eventTime":"2026-01-02T03:04:05.678Z",
         "eventName":"s3:ObjectCreated:Put","userIdentity":{"principalId":"x"},
         "s3":{"s3SchemaVersion":"1.0","configurationId":"Config",
               "bucket":{"name":"media","ownerIdentity":{"principalId":"x"},"arn":"arn:aws:s3:::media"},
               "object":{"key":"trip%2Fa+b%C3%BC.jpg","size":73,"eTag":"c4","sequencer":"16F"}},
         "source":{"host":"10.0.0.2","port":"","userAgent":"MinIO"}}]}"#;

    fn message(event: &str, key: &str) -> String {
        serde_json::json!({"Records": [{"eventName": event,
            "s3": {"bucket": {"name": "media"}, "object": {"key": key}}}]})
        .to_string()
    }

    fn keys(body: &str) -> Vec<String> {
        parse(body.as_bytes()).unwrap().events.iter().map(|event| event.key.to_string()).collect()
    }

    #[test]
    fn a_message_of_minio_names_the_object() {
        let found = parse(MINIO.as_bytes()).unwrap();
        assert_eq!(found.ignored, 0);
        assert_eq!(found.events[0].bucket, "media");
        assert_eq!(found.events[0].key.as_str(), "trip/a bü.jpg");
    }

    #[test]
    fn removals_count_and_other_events_and_path_tricks_do_not() {
        assert_eq!(keys(&message("ObjectRemoved:Delete", "a.jpg")), ["a.jpg"]);
        assert_eq!(keys(&message("ObjectAccessed:Get", "a.jpg")), [""; 0]);
        for trick in ["..%2f..%2fetc/passwd", "%00", "a//b", "", "/a", "a%5Cb"] {
            assert_eq!(keys(&message("ObjectCreated:Put", trick)), [""; 0], "{trick}");
        }
        assert_eq!(parse(br#"{"Event":"s3:TestEvent"}"#), Ok(BucketEvents::default()));
    }

    #[test]
    fn what_is_no_message_is_refused_with_its_place() {
        for bad in
            ["", "[", "null", "1", "{\"Records\":1}", "{\"Records\":[1]}", "{\"Records\":[{}]}"]
        {
            assert!(matches!(parse(bad.as_bytes()), Err(ParseEventsError::NotRecords(_))), "{bad}");
        }
        let bad_key = message("ObjectCreated:Put", "%ff");
        assert_eq!(parse(bad_key.as_bytes()), Err(ParseEventsError::BadKey(0)));
        let record = message("ObjectCreated:Put", "a");
        let record = &record["{\"Records\":[".len()..record.len() - 2];
        let many = format!("{{\"Records\":[{}]}}", vec![record; MAX_RECORDS + 1].join(","));
        assert_eq!(parse(many.as_bytes()), Err(ParseEventsError::TooMany));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_refused(
            bytes: Vec<u8>, text in "[\\[\\]{}\":,a-zRecords3.0-9]{0,60}", key in "\\PC{0,40}",
            at in 0usize..400, byte: u8,
        ) {
            let _ = parse(&bytes);
            let _ = parse(text.as_bytes());
            if let Ok(found) = parse(message("ObjectCreated:Put", &key).as_bytes()) {
                for event in found.events {
                    prop_assert!(!event.key.as_str().split('/').any(|s| s == ".." || s.is_empty()));
                }
            }
            let mut real = MINIO.as_bytes().to_vec();
            if let Some(place) = real.get_mut(at) {
                *place = byte;
            }
            let _ = parse(&real);
        }
    }
}
