# syntax=docker/dockerfile:1
#
#   docker build -t damwall .
#   docker run --rm -p 3000:3000 -p 8189:8189/udp -v damwall:/data damwall
#
# The log prints a login URL: outside the container's loopback a token is needed.

FROM rust:1.95-bookworm AS builder
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake libssl-dev nasm nodejs npm pkg-config ffmpeg \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
ENV XDG_CACHE_HOME=/cache CARGO_TARGET_DIR=/target
# The tools alone, before the sources: they change with these few files only.
COPY Cargo.toml Cargo.lock rust-toolchain.toml ./
COPY .cargo .cargo
COPY domain/Cargo.toml domain/
COPY media/Cargo.toml media/
COPY catalog/Cargo.toml catalog/
COPY app/Cargo.toml app/
COPY frontend/Cargo.toml frontend/
COPY server/Cargo.toml server/
COPY bench/Cargo.toml bench/
COPY xtask xtask
RUN for crate in domain media catalog app frontend; do \
        mkdir -p $crate/src && touch $crate/src/lib.rs; \
    done \
    && for crate in server bench; do \
        mkdir -p $crate/src && echo 'fn main() {}' > $crate/src/main.rs; \
    done \
    && cargo xtask setup --for release
COPY . .
# Copied files may be older than the placeholders that were built.
RUN find . -name '*.rs' -exec touch {} + \
    && cargo xtask build --release \
    && mkdir -p /out/damwall \
    && cp -r /target/release/hash.txt /target/release/site /out/damwall/ \
    # Names of functions stay, for what a panic prints; line tables are four fifths of the file.
    && strip --strip-debug -o /out/damwall/damwall /target/release/damwall

FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates ffmpeg \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin damwall \
    && install -d -o damwall -g damwall /data
# The program finds site/ and hash.txt beside itself.
COPY --from=builder /out/damwall /opt/damwall
RUN ln -s /opt/damwall/damwall /usr/local/bin/damwall
USER damwall
VOLUME /data
WORKDIR /data
EXPOSE 3000/tcp 8189/udp
STOPSIGNAL SIGTERM
# bash speaks TCP by itself; the image needs no curl for this.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/3000 && printf 'GET /healthz HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
ENTRYPOINT ["/opt/damwall/damwall"]
CMD ["serve", "--addr", "0.0.0.0:3000", "--data-dir", "/data"]
