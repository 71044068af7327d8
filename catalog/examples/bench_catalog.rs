//! Measures how long the catalog takes for the pages of a large library; `cargo xtask bench catalog`
//! runs it on both databases. Prints lines of name, rows, p50 and p95 in ms, and a hash of which rows
//! they were, with tabs between.

// It ends at the first thing that goes wrong, and says what.
#![allow(clippy::unwrap_used)]

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::{Duration, Instant},
};

use catalog::{Catalog, CatalogUrl};
use domain::{AssetFilter, AssetQuery, FolderPath};

/// What is asked; `{i}` is another number each time.
const PAGES: [(&str, &str); 24] = [
    ("newest", "limit=100"),
    ("newest, deep", "limit=100&after=n.15{i5}0000000000.0"),
    ("one kind", "kind=video&limit=100"),
    ("kinds and codecs", "kind=video&kind=audio&codec=h264&codec=hevc&limit=100"),
    ("a common label", "tag=label {i}&limit=100"),
    (
        "ten labels",
        "tag=label 1&tag=label 5&tag=label 7&tag=label 11&tag=label 16&tag=label 21&tag=label 26&tag=label 33&tag=label 40&tag=label 46&limit=100",
    ),
    ("a rare label", "tag=rare {i}&limit=100"),
    ("four cameras", "camera=cam1&camera=cam3&camera=cam8&camera=cam12&limit=100"),
    ("a year's folders", "folder=201{d}&limit=100"),
    ("one folder", "folder=2022/event 1{d}6&limit=100"),
    ("text: a word", "q=bace{s}&limit=100"),
    ("text: two letters", "q=la&limit=100"),
    ("text: one letter", "q=b&limit=100"),
    ("text: in most names", "q=img&limit=100"),
    ("text: two words", "q=dice+201{d}&limit=100"),
    ("text: three common ones", "q=mov+event+fo&limit=100"),
    ("a month", "from=201{d}-03-01&to=201{d}-03-31&limit=100"),
    ("a year by name", "from=201{d}-01-01&to=201{d}-12-31&sort=name&limit=100"),
    ("largest of a range", "min_size=500000000&max_size=90{i}00000&sort=largest&limit=100"),
    ("longest with a label", "tag=label 2&sort=longest&limit=100"),
    ("2160 lines", "min_height=2160&kind=video&limit=100"),
    (
        "everything at once",
        "q=ba&kind=video&codec=h264&tag=label 0&tag=label 4&tag=label 9&folder=2017&folder=2018&folder=2019&from=2017-01-01&to=2021-12-31&min_duration=60000&min_height=720&limit=100",
    ),
    ("nothing, of much", "kind=image&codec=h264&limit=100"),
    ("failed jobs", "failed=1&limit=100"),
];

/// What is counted by day.
const BUCKETS: [(&str, &str); 4] = [
    ("all", ""),
    ("one kind", "kind=video"),
    ("a year's folders", "folder=201{d}"),
    ("text: a word", "q=bace{s}"),
];

#[tokio::main]
async fn main() {
    let mut args = std::env::args().skip(1);
    let (assets, url) = (args.next().unwrap(), args.next().unwrap());
    let (assets, url): (u32, CatalogUrl) = (assets.parse().unwrap(), url.parse().unwrap());
    let only = args.next().unwrap_or_default();
    let catalog = Catalog::open(&url).await.unwrap();
    if catalog.counts().await.unwrap().assets == 0 {
        let started = Instant::now();
        catalog
            .fill_with_samples(assets, |done| eprintln!("{done} rows, {:.0?}", started.elapsed()))
            .await
            .unwrap();
        catalog.close().await;
    }
    let catalog = Catalog::open(&url).await.unwrap();
    for (name, query) in PAGES.iter().filter(|(name, _)| name.contains(&only)) {
        let times = measure(30, async |i| {
            let query = AssetQuery::parse(&vary(query, i)).unwrap();
            let page = catalog.list_assets(&query).await.unwrap();
            page.items.into_iter().map(|asset| asset.id.to_string()).collect()
        })
        .await;
        println!("{}", row(&format!("page: {name}"), times));
    }
    for (name, query) in BUCKETS.iter().filter(|(name, _)| name.contains(&only)) {
        let times = measure(8, async |i| {
            let filter = AssetFilter::parse(&vary(query, i)).unwrap();
            let buckets = catalog.buckets(&filter).await.unwrap();
            buckets.iter().map(|bucket| format!("{} {}", bucket.from, bucket.count)).collect()
        })
        .await;
        println!("{}", row(&format!("counts by month: {name}"), times));
    }
    if only.is_empty() {
        let top: FolderPath = "".parse().unwrap();
        let folders = measure(8, async |_| {
            let folders = catalog.folders(&top).await.unwrap();
            folders.into_iter().map(|folder| format!("{} {}", folder.path, folder.below)).collect()
        });
        println!("{}", row("folders", folders.await));
        let tags = measure(8, async |_| {
            let tags = catalog.tags().await.unwrap();
            tags.into_iter().map(|tag| format!("{} {}", tag.tag, tag.assets)).collect()
        });
        println!("{}", row("labels", tags.await));
        let facets = measure(8, async |_| catalog.facets().await.unwrap().codecs);
        println!("{}", row("cameras and codecs", facets.await));
    }
    catalog.close().await;
}

fn vary(query: &str, i: usize) -> String {
    query
        .replace("{i}", &(i % 40).to_string())
        .replace("{i5}", &(i % 5).to_string())
        .replace("{d}", &(6 + i % 4).to_string())
        .replace("{s}", ["ra", "do", "mi", "se"][i % 4])
}

/// Times in order, of as many calls after one that does not count; most of what one gave; a hash of all.
async fn measure(
    calls: usize,
    call: impl AsyncFn(usize) -> Vec<String>,
) -> (Vec<Duration>, usize, u64) {
    let mut most = call(0).await.len();
    let mut hash = DefaultHasher::new();
    let mut times = Vec::with_capacity(calls);
    for i in 0..calls {
        let started = Instant::now();
        let items = call(i).await;
        times.push(started.elapsed());
        most = most.max(items.len());
        items.hash(&mut hash);
    }
    times.sort();
    (times, most, hash.finish())
}

fn row(name: &str, (times, items, hash): (Vec<Duration>, usize, u64)) -> String {
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    let ms = |time: Duration| format!("{:.2}", time.as_secs_f64() * 1000.0);
    format!("{name}\t{items}\t{}\t{}\t{hash:016x}", ms(at(50)), ms(at(95)))
}
