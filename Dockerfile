# Two images from one build: `--target node` (the mail node, default) and `--target operator`.
# Only instructions that every OCI builder knows; e2e/cluster/image builds the same without any.
# The final stages hold programs, the libraries that they need, and no shell. They run as 10001, with
# a read-only root: what they write goes to volumes.
ARG OUT=/out

FROM docker.io/library/rust:1.95-bookworm AS build
ARG OUT
ARG PROFILE=image
ARG CARGO_TARGET_DIR=/target
WORKDIR /src
COPY . .
RUN cargo build --locked --profile ${PROFILE} -p murder-node -p murder-operator -p kubectl-murder --bins
# Cargo keeps what the profile `dev` makes in a folder `debug`.
RUN cd ${CARGO_TARGET_DIR}/$(echo ${PROFILE} | sed 's/^dev$/debug/') && \
    /bin/sh "${OLDPWD}/packaging/collect" ${OUT}/node murder-node && \
    /bin/sh "${OLDPWD}/packaging/collect" ${OUT}/operator murder-operator kubectl-murder

FROM scratch AS operator
ARG OUT
COPY --from=build ${OUT}/operator/ /
LABEL org.opencontainers.image.title="murder-operator" org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
EXPOSE 9090
ENTRYPOINT ["/usr/local/bin/murder-operator"]
CMD ["run"]

FROM scratch AS node
ARG OUT
COPY --from=build ${OUT}/node/ /
LABEL org.opencontainers.image.title="murder-node" org.opencontainers.image.licenses="Apache-2.0"
USER 10001:10001
EXPOSE 1143 1993 2003 2006 3905 8443 9090
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/murder-node"]
CMD ["run", "--config", "/etc/murder/node.yaml"]
