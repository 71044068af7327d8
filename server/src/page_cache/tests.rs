//! What becomes of answers, with a router in place of the pages.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use app::ssr::{Access, MadeFrom};
use axum::{
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use domain::Role;
use futures::future::join_all;
use tokio::sync::{Notify, watch};

use super::*;

/// A cache of what `answer` says, given how often it was asked before.
fn cache<F>(answer: impl Fn(usize, MadeFrom) -> F + Clone + Send + Sync + 'static) -> PageCache
where
    F: Future<Output = Response> + Send + 'static,
{
    let asked = Arc::new(AtomicUsize::new(0));
    let handler = move |made_from: MadeFrom| {
        let (answer, asked) = (answer.clone(), asked.clone());
        async move { answer(asked.fetch_add(1, SeqCst), made_from).await }
    };
    PageCache::new(Router::new().route("/assets", get(handler)), Settings::default())
}

fn key() -> Key {
    key_of("/assets")
}

fn key_of(target: &str) -> Key {
    let access = Access { role: Role::Viewer, token_login: false };
    Key::from_text(Key::text(access, &Target::parse(target).unwrap()))
}

/// What an asker gets: status, body, and why.
async fn ask(cache: &PageCache) -> Option<(StatusCode, String, Served)> {
    let (page, served) = match cache.look(&key().to_string()) {
        Look::Serve(page, served) => (page, served),
        Look::Wait => match cache.wait(&key()).await {
            Waited::Serve(page, served) => (page, served),
            Waited::PassOn => return None,
            Waited::Busy => panic!("busy"),
        },
    };
    let body = String::from_utf8(page.content.identity.body.to_vec()).unwrap();
    Some((page.content.status, body, served))
}

fn old(cache: &PageCache) {
    cache.0.settings.clock.advance(Duration::from_secs(600));
}

const MADE: Served = Served::Made { was_kept: false, collapsed: false, is_kept: false };

#[tokio::test]
async fn an_answer_with_a_cookie_or_no_store_is_neither_kept_nor_shared() {
    for (name, value) in [(header::SET_COOKIE, "a=b"), (header::CACHE_CONTROL, "private, no-store")]
    {
        let cache = cache(move |asked, made_from| {
            let name = name.clone();
            async move {
                made_from.note(Tag::Assets);
                let mut response = format!("{asked}").into_response();
                if asked > 0 {
                    response.headers_mut().insert(name, value.parse().unwrap());
                }
                response
            }
        });
        assert_eq!(ask(&cache).await.unwrap().1, "0");
        old(&cache);
        assert_eq!(ask(&cache).await, None, "passed on");
        assert_eq!(ask(&cache).await, None, "and what was kept before is gone");
    }
}

#[tokio::test]
async fn an_answer_made_from_nothing_that_is_told_is_not_kept() {
    let cache = cache(|asked, _| async move { format!("{asked}").into_response() });
    for asked in ["0", "1", "2"] {
        assert_eq!(ask(&cache).await, Some((StatusCode::OK, asked.to_owned(), MADE)));
    }
}

#[tokio::test]
async fn a_deleted_page_does_not_stay() {
    let cache = cache(|asked, made_from| async move {
        made_from.note(Tag::Assets);
        let status = if asked == 0 { StatusCode::OK } else { StatusCode::NOT_FOUND };
        (status, format!("{asked}")).into_response()
    });
    assert_eq!(ask(&cache).await.unwrap().0, StatusCode::OK);
    cache.note_change(&[Tag::Assets]);
    assert_eq!(ask(&cache).await.unwrap().0, StatusCode::NOT_FOUND);
    assert_eq!(ask(&cache).await.unwrap(), (StatusCode::NOT_FOUND, "2".to_owned(), MADE));
}

#[tokio::test]
async fn a_render_that_panics_has_failed() {
    let cache = cache(|asked, made_from| async move {
        assert_eq!(asked, 0, "a bug in a page");
        made_from.note(Tag::Assets);
        "good".into_response()
    });
    ask(&cache).await;
    old(&cache);
    let (status, body, served) = ask(&cache).await.unwrap();
    assert_eq!((status, body.as_str()), (StatusCode::OK, "good"));
    assert!(matches!(served, Served::AfterFailure { .. }));
}

#[tokio::test]
async fn a_render_that_hangs_has_failed_when_its_time_is_over_and_makes_room_for_others() {
    let mut cache = cache(|asked, made_from| async move {
        if asked < RENDERS_AT_ONCE {
            std::future::pending::<()>().await;
        }
        made_from.note(Tag::Assets);
        "made".into_response()
    });
    let limit = &mut Arc::get_mut(&mut cache.0).unwrap().render_timeout;
    assert_eq!(*limit, Duration::from_secs(20));
    *limit = Duration::from_millis(200);
    let asked = |number: usize| {
        let cache = cache.clone();
        async move {
            match cache.wait(&key_of(&format!("/assets?q={number}"))).await {
                Waited::Serve(page, _) => page.content.clone(),
                _ => panic!("not served"),
            }
        }
    };
    let answers = join_all((0..=RENDERS_AT_ONCE).map(asked)).await;
    let (last, hung) = answers.split_last().unwrap();
    for failure in hung {
        assert_eq!(failure.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(failure.identity.headers["retry-after"], "3");
        let text = String::from_utf8(failure.identity.body.to_vec()).unwrap();
        assert!(text.contains("took too long"), "{text}");
    }
    assert_eq!(last.status, StatusCode::OK);
}

#[tokio::test]
async fn a_render_goes_on_when_its_asker_has_left() {
    let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, waits) = (begun.clone(), go_on.clone());
    let cache = cache(move |_, made_from| {
        let (begins, waits) = (begins.clone(), waits.clone());
        async move {
            made_from.note(Tag::Assets);
            begins.notify_one();
            waits.notified().await;
            "made".into_response()
        }
    });
    let asker = tokio::spawn({
        let cache = cache.clone();
        async move { ask(&cache).await }
    });
    begun.notified().await;
    asker.abort();
    go_on.notify_one();
    // Joins the render that is under way, or finds what it made.
    assert_eq!(ask(&cache).await.unwrap().1, "made");
    assert_eq!(cache.rendered(), 1);
}

#[tokio::test]
async fn who_asks_after_a_change_gets_what_was_made_after_it() {
    let (begun, mut begins) = watch::channel(0);
    let go_on = Arc::new(Notify::new());
    let begun = Arc::new(begun);
    let cache = {
        let go_on = go_on.clone();
        cache(move |asked, made_from| {
            let (begun, go_on) = (begun.clone(), go_on.clone());
            async move {
                made_from.note(Tag::Assets);
                begun.send_replace(asked + 1);
                if asked == 0 {
                    go_on.notified().await;
                    // What a list shows is known when it was read.
                    made_from.note(Tag::Jobs);
                }
                format!("{asked}").into_response()
            }
        })
    };
    let asker = |cache: &PageCache| {
        let cache = cache.clone();
        tokio::spawn(async move { ask(&cache).await.unwrap().1 })
    };
    let before = asker(&cache);
    begins.wait_for(|begun| *begun == 1).await.unwrap();
    // A tag that is noted already, and one that is noted later: the answer under way is old with either.
    cache.note_change(&[Tag::Filters]);
    cache.note_change(&[Tag::Jobs]);
    let after = asker(&cache);
    tokio::task::yield_now().await;
    cache.note_change(&[Tag::Assets]);
    let later = asker(&cache);
    begins.wait_for(|begun| *begun == 2).await.unwrap();
    go_on.notify_one();
    assert_eq!(before.await.unwrap(), "0", "who asked before need not wait longer");
    assert_eq!((after.await.unwrap(), later.await.unwrap()), ("1".to_owned(), "1".to_owned()));
    assert_eq!(ask(&cache).await.unwrap().1, "1", "the older one did not take its place");
    assert_eq!(cache.rendered(), 2);
}

#[tokio::test]
async fn a_page_that_changes_all_the_time_is_made_ten_times_a_second() {
    let cache = cache(|_, made_from| async move {
        made_from.note(Tag::Assets);
        "made".into_response()
    });
    let began = Instant::now();
    for _ in 0..5 {
        cache.note_change(&[Tag::Everything]);
        ask(&cache).await.unwrap();
    }
    assert!(began.elapsed() >= Duration::from_millis(350), "{:?}", began.elapsed());
}

#[tokio::test]
async fn headers_of_a_kept_answer_name_its_policy() {
    let cache = cache(|_, made_from| async move {
        made_from.note(Tag::Assets);
        ([(header::VARY, "Cookie")], "made").into_response()
    });
    let Waited::Serve(page, _) = cache.wait(&key()).await else { panic!("not served") };
    let headers: &HeaderMap = &page.content.identity.headers;
    assert_eq!(headers["cache-control"], "private, no-cache");
    assert_eq!(headers["vary"], "Accept-Encoding");
    assert_eq!(headers["content-length"], "4");
}
