# valvulad in a container: docker build -t valvula .
#
# Configuration: /etc/valvula (mount a directory there, or set VALVULA__SECTION__KEY). State: the volume
# /var/lib/valvula. Two containers share counters only through a database on a server: docs/operations.md.

FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
# The caches are of the builder, not of any layer.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --locked --profile dist --bins \
    && install -D -t /out target/dist/valvulad target/dist/valvulactl

FROM debian:bookworm-slim
# Certificates for databases that are reached by TLS, time zones for quotas.
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates tzdata \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --user-group --home-dir /var/lib/valvula --shell /usr/sbin/nologin valvula \
    && install -d -o valvula -g valvula -m 750 /var/lib/valvula /run/valvula
COPY --from=build /out/ /usr/sbin/
COPY packages/docker/valvula.toml /etc/valvula/valvula.toml

USER valvula
VOLUME /var/lib/valvula
EXPOSE 3579
# Asks every listener; a container that does not answer is unhealthy, not restarted by this alone.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["/usr/sbin/valvulad", "-p"]
# valvulad ends cleanly on TERM: requests in hand are answered and counters written.
STOPSIGNAL SIGTERM
CMD ["/usr/sbin/valvulad"]
