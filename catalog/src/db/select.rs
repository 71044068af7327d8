//! How assets that pass a filter are found: which of its conditions leads, and what follows it.
//!
//! Neither database knows how many assets a word, a label and a camera have in common, and a wrong
//! guess costs a second at a million rows. So each condition that has an index is asked first how much
//! it lets through, up to [`FEW`]. If one lets little through, its assets are gathered and tried against
//! the rest. If all let much through, a sample tells whether much passes them together: then assets are
//! tried in the list's order until a page is full, which is soon. If not, those of the rarest kind,
//! camera, codec or folder are walked through. The sample also tells which words are worth asking the
//! full-text index for, which cannot stop after a few. Must not: read whole rows.

use super::{
    Catalog, CatalogError,
    dates::{end_of, start_of},
    search,
    sql::{Conn, Value, built_query, query},
};
use domain::{AssetFilter, AssetQuery, Bounds, CollectionId, Cursor, CursorKey, Sort};

/// Assets that are quicker gathered than looked for in order.
const FEW: i64 = 10_000;

/// Assets with a label that PostgreSQL puts into a table of hashes sooner than it looks at enough others
/// to find a page of these.
const HASHED: i64 = 3 * FEW;

/// Assets that are looked at to learn how common words are.
const SAMPLE: i64 = 500;
/// Hits in a sample from which on all of the words together are common: one in twenty.
const COMMON: i64 = 25;
/// Hits in a sample up to which the assets with a word are few: one in a hundred.
const RARE: i64 = 5;

/// A condition that can lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lead {
    Trash,
    Failed,
    Collection,
    Text,
    Tags,
    Folders,
    Cameras,
    Codecs,
    Kinds,
    Created,
    Size,
    Duration,
}

/// How the assets of a filter are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Those of one condition, which are few.
    Gather(Lead),
    /// Those of one kind, camera, codec or folder, which are many, for few of them pass.
    Walk(Lead),
    /// All of them, in the order that is asked for.
    Scan,
}

/// What a look at some assets told.
#[derive(Debug, Default)]
struct Sample {
    /// About how many there are in all.
    assets: i64,
    /// Conditions that let much through.
    common: Vec<Lead>,
    /// The rarest of kind, camera, codec and folder, if few pass all of the row's conditions.
    rarest: Option<Lead>,
    /// How many of the sample have the rarest word, if the full-text index is of use.
    text_hits: Option<i64>,
}

/// A statement in the making.
struct Builder<'a> {
    filter: &'a AssetFilter,
    /// What words begin with that are looked for.
    terms: Vec<String>,
    /// Those of them that the full-text index is asked for.
    rare_terms: Vec<String>,
    /// Whether no more than [`HASHED`] assets bear the labels, on PostgreSQL.
    few_tagged: bool,
    postgres: bool,
    values: Vec<Value>,
}

/// An asset of a page: its number and what it is sorted by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) seq: i64,
    pub(super) key: CursorKey,
}

impl Catalog {
    /// Numbers of the assets of a page, and of one more if there is one.
    pub(super) async fn hits(
        conn: &mut Conn,
        asked: &AssetQuery,
    ) -> Result<Vec<Hit>, CatalogError> {
        let (mut builder, plan) = Self::plan(conn, &asked.filter, Some(asked.sort)).await?;
        let key = sort_column(asked.sort);
        let (order, than) = match is_descending(asked.sort) {
            true => ("DESC", "<"),
            false => ("ASC", ">"),
        };
        let index = match asked.sort {
            Sort::Newest | Sort::Oldest => "assets_by_created",
            Sort::Name => "assets_by_name",
            Sort::Largest => "assets_by_size",
            Sort::Longest => "assets_by_duration",
        };
        let (with, from) = builder.from(plan, Some(index));
        let mut conditions = builder.conditions(plan);
        // A cursor of another order is none.
        let after = asked.after.as_ref().filter(|after| after.sort == asked.sort);
        if let Some(Cursor { key: after, seq, .. }) = after {
            let after = match after {
                CursorKey::Number(number) => builder.param(*number),
                CursorKey::Text(text) => builder.param(text),
            };
            let seq = builder.param(*seq);
            conditions.push(format!("(a.{key}, a.seq) {than} ({after}, {seq})"));
        }
        let limit = builder.param(i64::from(asked.limit.get()) + 1);
        let sql = format!(
            "{with}SELECT a.seq, a.{key} FROM {from} WHERE {} \
             ORDER BY a.{key} {order}, a.seq {order} LIMIT {limit}",
            conditions.join(" AND ")
        );
        let statement = built_query(sql, builder.values);
        Ok(if asked.sort == Sort::Name {
            let rows: Vec<(i64, String)> = statement.fetch_all(conn).await?;
            rows.into_iter().map(|(seq, key)| Hit { seq, key: CursorKey::Text(key) }).collect()
        } else {
            let rows: Vec<(i64, i64)> = statement.fetch_all(conn).await?;
            rows.into_iter().map(|(seq, key)| Hit { seq, key: CursorKey::Number(key) }).collect()
        })
    }

    /// How many assets pass a filter.
    pub(super) async fn count_hits(&self, filter: &AssetFilter) -> Result<i64, CatalogError> {
        let mut conn = self.pool.acquire().await?;
        let (mut builder, plan) = Self::plan(&mut conn, filter, None).await?;
        let (with, from) = builder.from(plan, builder.counting_index());
        let conditions = builder.conditions(plan).join(" AND ");
        let sql = format!("{with}SELECT COUNT(*) FROM {from} WHERE {conditions}");
        let (count,) = built_query(sql, builder.values).fetch_one::<(i64,)>(&mut conn).await?;
        Ok(count)
    }

    /// Days since 1970 and how many assets that pass a filter each has, in order, when these are soon
    /// counted; `None` when it takes [`Self::count_between`].
    pub(super) async fn count_by_day(
        &self,
        filter: &AssetFilter,
    ) -> Result<Option<Vec<(i64, i64)>>, CatalogError> {
        let mut conn = self.pool.acquire().await?;
        let (mut builder, plan) = Self::plan(&mut conn, filter, None).await?;
        if !matches!(plan, Plan::Gather(_)) {
            return Ok(None);
        }
        let (with, from) = builder.from(plan, None);
        let conditions = builder.conditions(plan).join(" AND ");
        // Both databases cut towards zero; what is before 1970 has to be cut downwards.
        let sql = format!(
            "{with}SELECT (a.created_ms + {SHIFT_MS}) / {DAY_MS} - {SHIFT_DAYS} AS day, COUNT(*) \
             FROM {from} WHERE {conditions} GROUP BY day ORDER BY day"
        );
        Ok(Some(built_query(sql, builder.values).fetch_all(&mut conn).await?))
    }

    /// How many assets that pass a filter came into being from each start to before its end, in Unix
    /// milliseconds. Grouping a million rows takes much longer than counting them in ranges of an index.
    pub(super) async fn count_between(
        &self,
        filter: &AssetFilter,
        ranges: &[(i64, i64)],
    ) -> Result<Vec<i64>, CatalogError> {
        let mut builder = Builder::new(filter, self.pool.is_postgres());
        let index = builder.facets().first().copied().and_then(facet_index);
        let (_, from) = builder.from(Plan::Scan, index.or(Some("assets_by_created")));
        let conditions = builder.conditions(Plan::Scan).join(" AND ");
        // PostgreSQL takes numbers that are small for shorter ones.
        let ranges: Vec<String> = ranges
            .iter()
            .map(|(start, end)| format!("(CAST({start} AS BIGINT), CAST({end} AS BIGINT))"))
            .collect();
        let sql = format!(
            "WITH span (first, after) AS (VALUES {}) SELECT span.first, (SELECT COUNT(*) \
             FROM {from} WHERE a.created_ms >= span.first AND a.created_ms < span.after \
             AND {conditions}) FROM span ORDER BY span.first",
            ranges.join(", ")
        );
        let counts: Vec<(i64, i64)> =
            built_query(sql, builder.values).fetch_all(&self.pool).await?;
        Ok(counts.into_iter().map(|(_, count)| count).collect())
    }

    /// When the first and the last asset came into being that could pass a filter.
    pub(super) async fn created_span(
        &self,
        filter: &AssetFilter,
    ) -> Result<Option<(i64, i64)>, CatalogError> {
        let (first, last) = query(
            "SELECT (SELECT MIN(created_ms) FROM assets WHERE trashed_us IS NULL), \
             (SELECT MAX(created_ms) FROM assets WHERE trashed_us IS NULL)",
        )
        .fetch_one::<(Option<i64>, Option<i64>)>(&self.pool)
        .await?;
        let first = first.max(filter.from.map(start_of));
        let last = match filter.to {
            Some(to) => last.map(|last| last.min(end_of(to) - 1)),
            None => last,
        };
        Ok(first.zip(last).filter(|(first, last)| first <= last))
    }

    /// Asks the conditions how much they let through.
    async fn plan<'a>(
        conn: &mut Conn,
        filter: &'a AssetFilter,
        sort: Option<Sort>,
    ) -> Result<(Builder<'a>, Plan), CatalogError> {
        let mut builder = Builder::new(filter, conn.is_postgres());
        if filter.trashed {
            return Ok((builder, Plan::Gather(Lead::Trash)));
        }
        let sample = Self::sample(conn, &mut builder).await?;
        let leads = builder.leads(sort);
        // A full-text index cannot stop after a few; the sample has to do.
        let text = sample.text_hits.map(|hits| (hits * sample.assets / SAMPLE, Lead::Text));
        let is_asked = |lead: &&Lead| **lead != Lead::Text && !sample.common.contains(*lead);
        let asked: Vec<Lead> = leads.iter().filter(is_asked).copied().collect();
        let counts: Vec<String> = asked
            .iter()
            .enumerate()
            .map(|(index, lead)| {
                let (seqs, max) = match lead {
                    // An asset with several of them counts as often; to look for it takes longer.
                    Lead::Tags => (builder.tagged(), if builder.postgres { HASHED } else { FEW }),
                    _ => (builder.seqs(*lead), FEW),
                };
                format!("SELECT {index}, COUNT(*) FROM (SELECT 1 FROM ({seqs}) s LIMIT {max}) few")
            })
            .collect();
        let mut few: Vec<(i64, Lead)> = text.into_iter().collect();
        if !asked.is_empty() {
            let values = std::mem::take(&mut builder.values);
            let counts: Vec<(i32, i64)> =
                built_query(counts.join(" UNION ALL "), values).fetch_all(conn).await?;
            let lead = |index: i32| asked.get(usize::try_from(index).ok()?).copied();
            few.extend(counts.into_iter().filter_map(|(index, count)| Some((count, lead(index)?))));
        }
        let tagged = few.iter().find(|(_, lead)| *lead == Lead::Tags).map(|(count, _)| *count);
        let is_hashed = |count| count < HASHED;
        let is_few = |(count, lead): &(i64, Lead)| *lead == Lead::Text || *count < FEW;
        let least = few.into_iter().filter(is_few).min_by_key(|(count, _)| *count);
        let least = least.map(|(_, lead)| lead);
        builder.few_tagged = builder.postgres && least.is_none() && tagged.is_some_and(is_hashed);
        let plan = match (least, sample.rarest) {
            (Some(lead), _) => Plan::Gather(lead),
            (None, Some(rarest)) => Plan::Walk(rarest),
            (None, None) => Plan::Scan,
        };
        Ok((builder, plan))
    }

    /// Looks at a sample of assets, if there is something to learn from it: also decides which words
    /// the full-text index is asked for.
    async fn sample(conn: &mut Conn, builder: &mut Builder<'_>) -> Result<Sample, CatalogError> {
        let of_row = builder.of_row();
        let terms = builder.terms.clone();
        if terms.is_empty() && of_row.len() < 2 {
            return Ok(Sample::default());
        }
        let mut tests = vec![vec!["1 = 1".to_owned()]];
        tests.push(of_row.iter().map(|lead| builder.condition(*lead, "a")).collect::<Vec<_>>());
        tests.extend(of_row.iter().map(|lead| vec![builder.condition(*lead, "a")]));
        tests.extend(terms.iter().map(|term| vec![builder.has_words(std::slice::from_ref(term))]));
        let hits: Vec<String> = tests
            .into_iter()
            .map(|tests| {
                let all = if tests.is_empty() { "1 = 1".to_owned() } else { tests.join(" AND ") };
                format!("CAST(SUM(CASE WHEN {all} THEN 1 ELSE 0 END) AS TEXT)")
            })
            .collect();
        // At no even distance: what cameras and scripts name comes in periods.
        let sql = format!(
            "WITH RECURSIVE pick (n) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT n + 1 FROM pick \
             WHERE n < {SAMPLE} - 1), top (seq) AS (SELECT MAX(seq) FROM assets) \
             SELECT COALESCE(CAST(MAX(top.seq) AS TEXT) || ' ' || {}, '') \
             FROM pick CROSS JOIN top CROSS JOIN assets a{} \
             WHERE a.seq = 1 + (pick.n * pick.n * 7919 + pick.n * 104729) % top.seq AND a.trashed_us IS NULL{}",
            hits.join(" || ' ' || "),
            if terms.is_empty() { "" } else { " CROSS JOIN asset_words w" },
            if terms.is_empty() { "" } else { " AND w.seq = a.seq" },
        );
        let values = std::mem::take(&mut builder.values);
        let (hits,) = built_query(sql, values).fetch_one::<(String,)>(conn).await?;
        let mut hits = hits.split(' ').map(|hits| hits.parse::<i64>().unwrap_or(0));
        let mut hit = || hits.next().unwrap_or(0);

        let (assets, looked_at, together) = (hit(), hit(), hit());
        let of_row: Vec<(i64, Lead)> = of_row.into_iter().map(|lead| (hit(), lead)).collect();
        // Three times the least that is too many, for a sample is only that.
        let is_common = |hits: i64| hits * assets / SAMPLE > 3 * FEW;
        let common = of_row.iter().filter(|(hits, _)| is_common(*hits)).map(|(_, lead)| *lead);
        let common = common.collect();
        let facets = of_row.into_iter().filter(|(_, lead)| facet_index(*lead).is_some());
        let rarest = facets.min_by_key(|(hits, _)| *hits).map(|(_, lead)| lead);
        let rarest = rarest.filter(|_| together < COMMON.min(looked_at));
        let mut text_hits = None;
        builder.rare_terms = Vec::new();
        if !terms.is_empty() {
            let words: Vec<(i64, String)> = terms.into_iter().map(|term| (hit(), term)).collect();
            let least = words.iter().map(|(hits, _)| *hits).min().unwrap_or(0);
            // The rest of the words are tried on what the rarest find.
            let rare = words.into_iter().filter(|(hits, _)| *hits <= 2 * least + RARE);
            if least <= RARE || least * assets / SAMPLE < FEW {
                builder.rare_terms = rare.map(|(_, term)| term).collect();
                text_hits = Some(least);
            }
        }
        Ok(Sample { assets, common, rarest, text_hits })
    }
}

const DAY_MS: i64 = 86_400_000;
/// Days before 1970 that are reckoned with: ten thousand years.
const SHIFT_DAYS: i64 = 3_652_500;
const SHIFT_MS: i64 = SHIFT_DAYS * DAY_MS;

/// The index of a kind, camera, codec or folder.
fn facet_index(lead: Lead) -> Option<&'static str> {
    match lead {
        Lead::Kinds => Some("assets_by_kind"),
        Lead::Cameras => Some("assets_by_camera"),
        Lead::Codecs => Some("assets_by_codec"),
        Lead::Folders => Some("assets_in_folder"),
        _ => None,
    }
}

fn sort_column(sort: Sort) -> &'static str {
    match sort {
        Sort::Newest | Sort::Oldest => "created_ms",
        Sort::Name => "name_key",
        Sort::Largest => "size_bytes",
        Sort::Longest => "duration_ms",
    }
}

fn is_descending(sort: Sort) -> bool {
    match sort {
        Sort::Newest | Sort::Largest | Sort::Longest => true,
        Sort::Oldest | Sort::Name => false,
    }
}

fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

impl<'a> Builder<'a> {
    fn new(filter: &'a AssetFilter, postgres: bool) -> Self {
        let terms = filter.text.as_deref().map(search::terms).unwrap_or_default();
        // Until more is known.
        let rare_terms = terms.clone();
        Self { filter, terms, rare_terms, few_tagged: false, postgres, values: Vec::new() }
    }

    fn param(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    fn params<V: Into<Value>>(&mut self, values: impl Iterator<Item = V>) -> String {
        let params: Vec<String> = values.map(|value| self.param(value)).collect();
        params.join(", ")
    }

    /// The filter's conditions that have an index, but for the one that the list is sorted by.
    fn leads(&self, sort: Option<Sort>) -> Vec<Lead> {
        let filter = self.filter;
        let by_created = matches!(sort, Some(Sort::Newest | Sort::Oldest));
        let has_days = filter.from.is_some() || filter.to.is_some();
        let has = |bounds: Bounds| bounds != Bounds::default();
        [
            (Lead::Failed, filter.failed),
            (Lead::Collection, filter.collection.is_some()),
            (Lead::Text, !self.rare_terms.is_empty()),
            (Lead::Tags, !filter.tags.is_empty()),
            (Lead::Cameras, !filter.cameras.is_empty()),
            (Lead::Codecs, !filter.codecs.is_empty()),
            (Lead::Folders, !filter.folders.is_empty()),
            (Lead::Kinds, !filter.kinds.is_empty()),
            (Lead::Created, has_days && !by_created),
            (Lead::Size, has(filter.size_bytes) && sort != Some(Sort::Largest)),
            (Lead::Duration, has(filter.duration_ms) && sort != Some(Sort::Longest)),
        ]
        .into_iter()
        .filter_map(|(lead, is_given)| is_given.then_some(lead))
        .collect()
    }

    /// Those of the filter's conditions that one row tells.
    fn of_row(&self) -> Vec<Lead> {
        let of_others = [Lead::Failed, Lead::Collection, Lead::Text, Lead::Tags];
        self.leads(None).into_iter().filter(|lead| !of_others.contains(lead)).collect()
    }

    /// Those of the filter's conditions that walk through an index.
    fn facets(&self) -> Vec<Lead> {
        self.leads(None).into_iter().filter(|lead| facet_index(*lead).is_some()).collect()
    }

    /// Numbers of the assets that pass one condition, each once; some may be in the trash.
    fn seqs(&mut self, lead: Lead) -> String {
        let filter = self.filter;
        match lead {
            Lead::Trash => "SELECT seq FROM assets WHERE trashed_us IS NOT NULL".to_owned(),
            Lead::Failed => "SELECT DISTINCT f.seq FROM jobs j JOIN assets f ON f.id = j.asset_id \
                 WHERE j.state = 'failed'"
                .to_owned(),
            Lead::Collection => {
                let id = self.param(filter.collection.map(CollectionId::get));
                format!("SELECT seq FROM collection_assets WHERE collection_id = {id}")
            }
            Lead::Text => {
                let text = self.param(search::expression(&self.rare_terms, self.postgres));
                if self.postgres {
                    // The index is for the operator alone: the function is tried on what it finds.
                    let all = self.param(search::expression(&self.terms, true));
                    format!(
                        "SELECT seq FROM asset_words WHERE words @@ {text}::tsquery \
                         AND ts_match_vq(words, {all}::tsquery)"
                    )
                } else {
                    format!("SELECT rowid AS seq FROM asset_search WHERE asset_search MATCH {text}")
                }
            }
            Lead::Tags => {
                let tagged = self.tagged();
                match filter.tags.len() {
                    1 => tagged,
                    _ => format!("SELECT DISTINCT seq FROM ({tagged}) tagged"),
                }
            }
            Lead::Folders
            | Lead::Cameras
            | Lead::Codecs
            | Lead::Kinds
            | Lead::Created
            | Lead::Size
            | Lead::Duration => {
                let condition = self.condition(lead, "c");
                format!("SELECT c.seq FROM assets c WHERE c.trashed_us IS NULL AND {condition}")
            }
        }
    }

    /// Numbers of the assets that bear one of the labels, as often as they bear one.
    fn tagged(&mut self) -> String {
        let tags = self.params(self.filter.tags.iter().map(|tag| tag.as_str()));
        format!("SELECT seq FROM asset_labels WHERE label IN ({tags})")
    }

    /// A `WITH` clause and what stands after `FROM`; the assets are `a`.
    fn from(&mut self, plan: Plan, index: Option<&str>) -> (String, String) {
        match plan {
            Plan::Scan | Plan::Walk(_) => {
                let facet = match plan {
                    Plan::Walk(lead) => facet_index(lead),
                    _ => None,
                };
                let index = facet.or(index);
                // SQLite takes a condition's index and sorts all that it finds, if it is let.
                let by = index.filter(|_| !self.postgres);
                let by = by.map_or(String::new(), |index| format!(" INDEXED BY {index}"));
                (String::new(), format!("assets a{by}"))
            }
            Plan::Gather(lead) => {
                let seqs = self.seqs(lead);
                // Tells PostgreSQL how many there can be.
                let limit = match lead {
                    Lead::Trash | Lead::Text => String::new(),
                    _ => format!(" LIMIT {}", 2 * FEW),
                };
                let with = format!("WITH hit AS MATERIALIZED ({seqs}{limit}) ");
                (with, "hit CROSS JOIN assets a".to_owned())
            }
        }
    }

    /// The index that holds all that is needed to count, unless a smaller one does.
    fn counting_index(&self) -> Option<&'static str> {
        let filter = self.filter;
        let has_size =
            filter.width_px != Bounds::default() || filter.height_px != Bounds::default();
        let by_one = [Lead::Kinds, Lead::Cameras, Lead::Codecs, Lead::Folders];
        let is_small = match self.leads(None).as_slice() {
            [lead] => by_one.contains(lead) && !has_size && self.terms.is_empty(),
            _ => false,
        };
        (!is_small).then_some("assets_by_created")
    }

    /// What an asset `a` has to be, besides what leads.
    fn conditions(&mut self, plan: Plan) -> Vec<String> {
        let mut conditions = Vec::new();
        let mut lead = None;
        if let Plan::Gather(leading) = plan {
            conditions.push("a.seq = hit.seq".to_owned());
            lead = Some(leading);
        }
        conditions.push(match self.filter.trashed {
            true => "a.trashed_us IS NOT NULL".to_owned(),
            false => "a.trashed_us IS NULL".to_owned(),
        });
        let sizes = [("width_px", self.filter.width_px), ("height_px", self.filter.height_px)];
        for (column, bounds) in sizes {
            conditions.extend(self.between("a", column, bounds));
        }
        // What the row tells comes before what has to be looked up.
        let others = [Lead::Failed, Lead::Collection, Lead::Tags];
        let given = self.leads(None);
        let others = others.into_iter().filter(|other| given.contains(other));
        for other in self.of_row().into_iter().chain(others) {
            if Some(other) != lead {
                conditions.push(self.condition(other, "a"));
            }
        }
        let is_settled = lead == Some(Lead::Text)
            && (self.postgres || self.rare_terms.len() == self.terms.len());
        if !self.terms.is_empty() && !is_settled {
            conditions.push(self.condition(Lead::Text, "a"));
        }
        conditions
    }

    /// Whether an asset passes one condition. What asks another table asks it for this asset: a join
    /// would read all that the other table has.
    fn condition(&mut self, lead: Lead, asset: &str) -> String {
        let filter = self.filter;
        match lead {
            Lead::Trash => format!("{asset}.trashed_us IS NOT NULL"),
            Lead::Failed => format!(
                "(SELECT TRUE FROM jobs j WHERE j.asset_id = {asset}.id \
                 AND j.state = 'failed' LIMIT 1)"
            ),
            Lead::Collection => {
                let id = self.param(filter.collection.map(CollectionId::get));
                format!(
                    "(SELECT TRUE FROM collection_assets m WHERE m.seq = {asset}.seq \
                     AND m.collection_id = {id})"
                )
            }
            Lead::Text => {
                let terms = self.terms.clone();
                let has = self.has_words(&terms);
                format!("(SELECT {has} FROM asset_words w WHERE w.seq = {asset}.seq)")
            }
            Lead::Tags if self.few_tagged => {
                let tagged = self.tagged();
                // Tells PostgreSQL how many there can be: so many have room in memory.
                format!("({asset}.seq IN ({tagged} LIMIT {})) IS TRUE", 2 * HASHED)
            }
            Lead::Tags => {
                let tags = self.params(filter.tags.iter().map(|tag| tag.as_str()));
                // PostgreSQL would go down the index once for each label; an asset has few.
                let label = if self.postgres { "(l.label || '')" } else { "l.label" };
                format!(
                    "(SELECT TRUE FROM asset_labels l WHERE l.seq = {asset}.seq \
                     AND {label} IN ({tags}) LIMIT 1)"
                )
            }
            Lead::Folders => {
                let below = filter.folders.iter().map(|folder| self.below(folder.as_str()));
                let below = below.collect::<Vec<_>>().join(" OR ");
                let is_in =
                    format!("{asset}.folder_id IN (SELECT d.id FROM folders d WHERE {below})");
                // As a truth value PostgreSQL looks it up in a table of hashes, before what costs more;
                // as a join it would come last.
                if self.postgres && asset == "a" { format!("({is_in}) IS TRUE") } else { is_in }
            }
            Lead::Cameras => {
                let cameras = self.params(filter.cameras.iter().map(|camera| camera.as_str()));
                format!("{asset}.camera IN ({cameras})")
            }
            Lead::Codecs => {
                let codecs = self.params(filter.codecs.iter());
                format!("{asset}.codec IN ({codecs})")
            }
            Lead::Kinds => {
                let kinds = self.params(filter.kinds.iter().map(|kind| kind.as_str()));
                format!("{asset}.kind IN ({kinds})")
            }
            Lead::Created => {
                let mut conditions = Vec::new();
                if let Some(from) = filter.from {
                    let from = self.param(start_of(from));
                    conditions.push(format!("{asset}.created_ms >= {from}"));
                }
                if let Some(to) = filter.to {
                    let end = self.param(end_of(to));
                    conditions.push(format!("{asset}.created_ms < {end}"));
                }
                conditions.join(" AND ")
            }
            Lead::Size => self.between(asset, "size_bytes", filter.size_bytes).join(" AND "),
            Lead::Duration => self.between(asset, "duration_ms", filter.duration_ms).join(" AND "),
        }
    }

    /// Whether the words `w` of one asset begin with all of these.
    fn has_words(&mut self, terms: &[String]) -> String {
        if self.postgres {
            let text = self.param(search::expression(terms, true));
            return format!("w.words @@ {text}::tsquery");
        }
        let has = terms.iter().map(|term| {
            let term = self.param(format!(" {term}"));
            format!("instr(w.words, {term}) > 0")
        });
        has.collect::<Vec<_>>().join(" AND ")
    }

    /// Whether a folder `d` is `path` or below it.
    fn below(&mut self, path: &str) -> String {
        let same = self.param(path);
        let from = self.param(format!("{path}/"));
        // The character after the slash.
        let to = self.param(format!("{path}0"));
        format!("d.path = {same} OR (d.path >= {from} AND d.path < {to})")
    }

    /// A range of a column where 0 is "not known", which is within no range that has a lower end.
    fn between(&mut self, asset: &str, column: &str, bounds: Bounds) -> Vec<String> {
        let mut conditions = Vec::new();
        // Of a range that has an upper end alone, only what is known is meant; a size is always known.
        let min = match (bounds.min, bounds.max) {
            (None, Some(_)) if column != "size_bytes" => Some(1),
            (min, _) => min,
        };
        if let Some(min) = min {
            let min = self.param(bound(min));
            conditions.push(format!("{asset}.{column} >= {min}"));
        }
        if let Some(max) = bounds.max {
            let max = self.param(bound(max));
            conditions.push(format!("{asset}.{column} <= {max}"));
        }
        conditions
    }
}
