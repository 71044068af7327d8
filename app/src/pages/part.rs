//! In which parts browsers get the pages' code: what all pages share is loaded first, and a part of its own
//! for each kind of page, when such a page is first shown.
//!
//! Parts are cut out of the linked wasm by `cargo leptos build --split`. What several parts need is a file for
//! each set of them, so a few parts are better than one for each page: six would make fifty files, and too
//! many for the splitter to share the constants out (all would be loaded with every page).
//!
//! Must not: refer to a page other than in the function of its part, which would pull it out of there.

use std::future;

use leptos::{
    WasmSplitManifest,
    prelude::*,
    wasm_split::{SplitLoaderError, wasm_split},
};
use leptos_router::{ChooseView, hooks::use_url, location::RequestUrl};

use super::{
    AssetPage, AssetsPage, CamerasPage, CollectionsPage, EditCameraPage, LivePage, NewCameraPage,
    PublishPage, UploadPage,
};

/// A page as a route has it: its code is loaded when it is first shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// What is in the library.
    Library(LibraryPage),
    /// One asset.
    Asset,
    /// Watching cameras.
    Live,
    /// What few people do.
    Manage(ManagePage),
}

/// Lists of what is in the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LibraryPage {
    /// Assets.
    Assets,
    /// Collections of them.
    Collections,
}

/// Bringing things in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ManagePage {
    /// Files.
    Upload,
    /// Every camera's definition.
    Cameras,
    /// A camera to be.
    NewCamera,
    /// One camera's definition.
    EditCamera,
    /// This computer's camera.
    Publish,
}

#[wasm_split(library, wasm_split_path = leptos::wasm_split, preload(load_library), fallible)]
fn library(page: LibraryPage) -> Result<AnyView, SplitLoaderError> {
    Ok(match page {
        LibraryPage::Assets => view! { <AssetsPage /> }.into_any(),
        LibraryPage::Collections => view! { <CollectionsPage /> }.into_any(),
    })
}

#[wasm_split(asset, wasm_split_path = leptos::wasm_split, preload(load_asset), fallible)]
fn asset() -> Result<AnyView, SplitLoaderError> {
    Ok(view! { <AssetPage /> }.into_any())
}

#[wasm_split(live, wasm_split_path = leptos::wasm_split, preload(load_live), fallible)]
fn live() -> Result<AnyView, SplitLoaderError> {
    Ok(view! { <LivePage /> }.into_any())
}

#[wasm_split(manage, wasm_split_path = leptos::wasm_split, preload(load_manage), fallible)]
fn manage(page: ManagePage) -> Result<AnyView, SplitLoaderError> {
    Ok(match page {
        ManagePage::Upload => view! { <UploadPage /> }.into_any(),
        ManagePage::Cameras => view! { <CamerasPage /> }.into_any(),
        ManagePage::NewCamera => view! { <NewCameraPage /> }.into_any(),
        ManagePage::EditCamera => view! { <EditCameraPage /> }.into_any(),
        ManagePage::Publish => view! { <PublishPage /> }.into_any(),
    })
}

impl ChooseView for Page {
    async fn choose(self) -> AnyView {
        let url = use_url();
        let view = match self {
            Self::Library(page) => library(page).await,
            Self::Asset => asset().await,
            Self::Live => live().await,
            Self::Manage(page) => manage(page).await,
        };
        match view {
            Ok(view) => view,
            // The server cannot be reached, or is a newer one with other files: go there without this code.
            Err(_) => {
                let to = url.with_untracked(|url| match url.search() {
                    "" => url.path().to_owned(),
                    search => format!("{}?{search}", url.path()),
                });
                let _ = location().assign(&to);
                future::pending().await
            }
        }
    }

    async fn preload(&self) {}
}

/// Names the files of the page's part in its head, so that browsers ask for them at once. To be placed behind
/// `HydrationScripts`, which reads the manifest of the parts.
///
/// Leptos has `prefetch_lazy_fn_on_server` for that, which looks for the manifest when the page is rendered: on
/// whichever thread that ended, where another page's context may be the current one, or none.
#[component]
pub fn PartFiles() -> impl IntoView {
    let url = use_context::<RequestUrl>().and_then(|url| url.parse().ok());
    let part = url.and_then(|url| Part::at(url.path()));
    let manifest = use_context::<WasmSplitManifest>();
    part.zip(manifest).map(|(part, WasmSplitManifest(manifest))| {
        let (folder, files_of, loader) = manifest.get_value();
        let files = files_of.get(part.name()).cloned().unwrap_or_default();
        let preload = |file: String| {
            let href = format!("{folder}/{file}.wasm");
            view! { <link rel="preload" href=href r#as="fetch" r#type="application/wasm" crossorigin="" /> }
        };
        view! {
            {files.into_iter().map(preload).collect_view()}
            <link rel="modulepreload" href=format!("{folder}/{loader}") crossorigin="" />
        }
    })
}

/// Loads the part that the page at `path` is in, after which it can be hydrated at once.
///
/// # Errors
/// When the part cannot be loaded.
pub async fn load_part_of(path: &str) -> Result<(), SplitLoaderError> {
    match Part::at(path) {
        Some(Part::Library) => load_library().await,
        Some(Part::Asset) => load_asset().await,
        Some(Part::Live) => load_live().await,
        Some(Part::Manage) => load_manage().await,
        None => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Library,
    Asset,
    Live,
    Manage,
}

impl Part {
    /// As its function is called, after which the splitter names it.
    fn name(self) -> &'static str {
        match self {
            Self::Library => "library",
            Self::Asset => "asset",
            Self::Live => "live",
            Self::Manage => "manage",
        }
    }

    /// As the routes have it; the pages that say "not found" are in no part.
    fn at(path: &str) -> Option<Self> {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty());
        let first = segments.next()?;
        let second = segments.next();
        match (first, second) {
            ("assets", None | Some("trash" | "collections")) => Some(Self::Library),
            ("assets", Some("upload")) => Some(Self::Manage),
            ("assets", Some(_)) => Some(Self::Asset),
            ("live", None) => Some(Self::Live),
            ("live", Some(_)) => Some(Self::Manage),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_tells_the_part_that_its_page_is_in() {
        let cases = [
            ("/", None),
            ("/nothing", None),
            ("/assets", Some(Part::Library)),
            ("/assets/", Some(Part::Library)),
            ("/assets/trash", Some(Part::Library)),
            ("/assets/collections", Some(Part::Library)),
            ("/assets/collections/abc", Some(Part::Library)),
            ("/assets/upload", Some(Part::Manage)),
            ("/assets/0190", Some(Part::Asset)),
            ("/live", Some(Part::Live)),
            ("/live/cameras", Some(Part::Manage)),
            ("/live/cameras/new", Some(Part::Manage)),
            ("/live/cameras/door", Some(Part::Manage)),
            ("/live/publish/door", Some(Part::Manage)),
        ];
        for (path, part) in cases {
            assert_eq!(Part::at(path), part, "{path}");
        }
    }
}
