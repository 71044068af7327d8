//! One statement, whichever database it goes to. Must not: hold SQL of its own.
//!
//! sqlx's own `Any` driver knows neither `LISTEN` nor the pools that the job queue needs, and copies
//! every row. Here a statement is text with `$1` parameters and a list of values, and only its
//! last step knows which database there is.

use std::{borrow::Cow, error::Error, iter};

use sqlx::{
    AssertSqlSafe, FromRow, PgPool, Postgres, SqlSafeStr as _, SqlStr, Sqlite, SqlitePool,
    Transaction,
    pool::PoolConnection,
    postgres::{PgArguments, PgRow},
    query::Query,
    sqlite::{SqliteArguments, SqliteRow},
};

/// Connections to the one database there is.
#[derive(Debug, Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    /// Begins a transaction that is going to write.
    pub(crate) async fn begin_write(&self) -> Result<Tx, sqlx::Error> {
        Ok(match self {
            // A transaction that reads first and writes then would fail when another wrote between.
            Self::Sqlite(pool) => Tx::Sqlite(pool.begin_with("BEGIN IMMEDIATE").await?),
            Self::Postgres(pool) => {
                // sqlx 0.9.0 does not undo a transaction whose beginning was given up half-way, as when
                // a client leaves: whoever had the connection next would write into it, and for nothing
                // (sqlx issue 4393). A task of its own is not given up.
                let pool = pool.clone();
                let begun = tokio::spawn(async move { pool.begin().await }).await;
                Tx::Postgres(begun.map_err(|error| sqlx::Error::Io(error.into()))??)
            }
        })
    }

    /// One connection, for several statements that answer one question: to take one for each would ask
    /// each time whether it is still there, and no two would go to the same.
    pub(crate) async fn acquire(&self) -> Result<Conn, sqlx::Error> {
        Ok(match self {
            Self::Sqlite(pool) => Conn::Sqlite(pool.acquire().await?),
            Self::Postgres(pool) => Conn::Postgres(pool.acquire().await?),
        })
    }

    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Sqlite(pool) => pool.close().await,
            Self::Postgres(pool) => pool.close().await,
        }
    }
}

/// A connection that nobody else has meanwhile.
#[derive(Debug)]
pub(crate) enum Conn {
    Sqlite(PoolConnection<Sqlite>),
    Postgres(PoolConnection<Postgres>),
}

impl Conn {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }
}

/// A transaction; undone when dropped.
#[derive(Debug)]
pub(crate) enum Tx {
    Sqlite(Transaction<'static, Sqlite>),
    Postgres(Transaction<'static, Postgres>),
}

impl Tx {
    pub(crate) fn is_postgres(&self) -> bool {
        matches!(self, Self::Postgres(_))
    }

    pub(crate) async fn commit(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(tx) => tx.commit().await,
            Self::Postgres(tx) => tx.commit().await,
        }
    }
}

/// Where a statement runs.
#[derive(Debug)]
pub(crate) enum On<'a> {
    Pool(&'a Pool),
    Conn(&'a mut Conn),
    Tx(&'a mut Tx),
}

impl<'a> From<&'a Pool> for On<'a> {
    fn from(pool: &'a Pool) -> Self {
        Self::Pool(pool)
    }
}

impl<'a> From<&'a mut Conn> for On<'a> {
    fn from(conn: &'a mut Conn) -> Self {
        Self::Conn(conn)
    }
}

impl<'a> From<&'a mut Tx> for On<'a> {
    fn from(tx: &'a mut Tx) -> Self {
        Self::Tx(tx)
    }
}

/// A parameter. The catalog stores nothing else than integers and text.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl From<Option<i64>> for Value {
    fn from(value: Option<i64>) -> Self {
        Self::Int(value)
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(Some(value))
    }
}

impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Self::Text(Some(value.clone()))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(Some(value.to_owned()))
    }
}

impl From<Option<&str>> for Value {
    fn from(value: Option<&str>) -> Self {
        Self::Text(value.map(str::to_owned))
    }
}

impl From<&Option<String>> for Value {
    fn from(value: &Option<String>) -> Self {
        Self::Text(value.clone())
    }
}

/// A row that both databases can give: a tuple, or a type made by [`row!`].
pub(crate) trait DbRow:
    for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

impl<T> DbRow for T where
    T: for<'r> FromRow<'r, SqliteRow> + for<'r> FromRow<'r, PgRow> + Send + Unpin
{
}

/// A statement and the values of its parameters.
#[derive(Debug, Clone)]
#[must_use]
pub(crate) struct Statement {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

/// A statement that is written out.
pub(crate) fn query(sql: &'static str) -> Statement {
    Statement { sql: sql.into(), values: Vec::new() }
}

/// A statement put together from constants; what came from outside is among `values`.
pub(crate) fn built_query(sql: String, values: Vec<Value>) -> Statement {
    Statement { sql: sql.into(), values }
}

/// `$act` with the query for the database that `$on` is of.
macro_rules! run {
    ($self:ident, $on:ident, |$query:ident, $executor:ident| $act:expr) => {
        match $on.into() {
            On::Pool(Pool::Sqlite($executor)) => {
                let $query = $self.for_sqlite();
                $act
            }
            On::Pool(Pool::Postgres($executor)) => {
                let $query = $self.for_postgres();
                $act
            }
            On::Conn(Conn::Sqlite(conn)) => {
                let ($query, $executor) = ($self.for_sqlite(), &mut **conn);
                $act
            }
            On::Conn(Conn::Postgres(conn)) => {
                let ($query, $executor) = ($self.for_postgres(), &mut **conn);
                $act
            }
            On::Tx(Tx::Sqlite(tx)) => {
                let ($query, $executor) = ($self.for_sqlite(), &mut **tx);
                $act
            }
            On::Tx(Tx::Postgres(tx)) => {
                let ($query, $executor) = ($self.for_postgres(), &mut **tx);
                $act
            }
        }
    };
}

impl Statement {
    /// Gives the next parameter its value.
    pub(crate) fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self
    }

    /// Runs it; returns how many rows it changed.
    pub(crate) async fn execute<'a>(self, on: impl Into<On<'a>>) -> Result<u64, sqlx::Error> {
        match on.into() {
            // It is a transaction of its own.
            On::Pool(pool) => settled(|| self.clone().execute_once(pool)).await,
            on => self.execute_once(on).await,
        }
    }

    async fn execute_once<'a>(self, on: impl Into<On<'a>>) -> Result<u64, sqlx::Error> {
        run!(self, on, |query, executor| Ok(query.execute(executor).await?.rows_affected()))
    }

    /// Every row.
    pub(crate) async fn fetch_all<'a, T: DbRow>(
        self,
        on: impl Into<On<'a>>,
    ) -> Result<Vec<T>, sqlx::Error> {
        run!(self, on, |query, executor| {
            query.fetch_all(executor).await?.iter().map(T::from_row).collect()
        })
    }

    /// The first row, if there is one.
    pub(crate) async fn fetch_optional<'a, T: DbRow>(
        self,
        on: impl Into<On<'a>>,
    ) -> Result<Option<T>, sqlx::Error> {
        // To the end: a statement left half-read holds its lock a little longer.
        Ok(self.fetch_all(on).await?.into_iter().next())
    }

    /// The only row.
    pub(crate) async fn fetch_one<'a, T: DbRow>(
        self,
        on: impl Into<On<'a>>,
    ) -> Result<T, sqlx::Error> {
        self.fetch_optional(on).await?.ok_or(sqlx::Error::RowNotFound)
    }

    fn sql(sql: Cow<'static, str>) -> SqlStr {
        match sql {
            Cow::Borrowed(sql) => sql.into_sql_str(),
            // Put together from this crate's constants alone.
            Cow::Owned(sql) => AssertSqlSafe(sql).into_sql_str(),
        }
    }

    fn for_sqlite(self) -> Query<'static, Sqlite, SqliteArguments> {
        let query = sqlx::query(Self::sql(self.sql));
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
        })
    }

    fn for_postgres(self) -> Query<'static, Postgres, PgArguments> {
        let query = sqlx::query(Self::sql(self.sql));
        self.values.into_iter().fold(query, |query, value| match value {
            Value::Int(value) => query.bind(value),
            Value::Text(value) => query.bind(value),
        })
    }
}

/// The time, in milliseconds since 1970. It is the database's: servers that share a PostgreSQL may have
/// clocks that differ. An SQLite file has this machine's.
pub(crate) fn now_ms(postgres: bool) -> &'static str {
    match postgres {
        // In a query of its own it is asked for once, not for each row.
        true => "(SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT))",
        false => "(SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))",
    }
}

/// How often a transaction is tried again that others stood in the way of.
const RETRIES: u32 = 5;

/// Does a whole transaction again that PostgreSQL undid because it and others waited for each other.
///
/// Those that lock several assets do so in one order and cannot; a row that refers to an asset may be
/// written while the asset is removed, though.
pub(crate) async fn settled<T, E, F>(transaction: impl Fn() -> F) -> Result<T, E>
where
    E: Error + 'static,
    F: Future<Output = Result<T, E>>,
{
    for _ in 0..RETRIES {
        match transaction().await {
            Err(error) if is_undone(&error) => tracing::debug!(%error, "tried again: {error}"),
            outcome => return outcome,
        }
    }
    transaction().await
}

/// Whether PostgreSQL undid a transaction for the sake of another: it may be tried again.
/// Source: PostgreSQL, appendix A, class 40.
fn is_undone(error: &(dyn Error + 'static)) -> bool {
    let mut causes = iter::successors(Some(error), |&error| error.source());
    causes.any(|cause| match cause.downcast_ref() {
        Some(sqlx::Error::Database(error)) => {
            matches!(error.code().as_deref(), Some("40001" | "40P01"))
        }
        _ => false,
    })
}

/// A struct that is a row of either database, column for field.
macro_rules! row {
    ($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone)]
        struct $name { $($field: $type,)* }

        impl<'r, R: sqlx::Row> sqlx::FromRow<'r, R> for $name
        where
            &'static str: sqlx::ColumnIndex<R>,
            $($type: sqlx::Decode<'r, R::Database> + sqlx::Type<R::Database>,)*
        {
            fn from_row(row: &'r R) -> Result<Self, sqlx::Error> {
                Ok(Self { $($field: row.try_get(stringify!($field))?,)* })
            }
        }
    };
}
pub(crate) use row;

/// What stands in `IN (…)` for the one parameter `$1`, a list of texts of any length.
pub(crate) fn id_list<'a>(
    ids: impl IntoIterator<Item = &'a str>,
    postgres: bool,
) -> (&'static str, Vec<Value>) {
    let list: Vec<&str> = ids.into_iter().collect();
    let json = serde_json::Value::from(list).to_string();
    let sql = match postgres {
        true => "SELECT json_array_elements_text($1::json)",
        false => "SELECT value FROM json_each($1)",
    };
    (sql, vec![json.into()])
}

/// What stands in `IN (…)` for the one parameter `$1`, a list of numbers of any length.
pub(crate) fn seq_list(
    seqs: impl IntoIterator<Item = i64>,
    postgres: bool,
) -> (&'static str, Vec<Value>) {
    let list: Vec<i64> = seqs.into_iter().collect();
    let json = serde_json::Value::from(list).to_string();
    let sql = match postgres {
        true => "SELECT json_array_elements_text($1::json)::bigint",
        false => "SELECT value FROM json_each($1)",
    };
    (sql, vec![json.into()])
}
