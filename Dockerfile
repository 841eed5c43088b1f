# The server as an image: docker build -t entente .
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN go build -trimpath -o /entente ./cmd/entente

FROM debian:bookworm-slim
# curl asks for health; openssl makes the certificates of a trial (docker-compose.yml).
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl openssl && rm -rf /var/lib/apt/lists/* \
 && useradd --system --home-dir /var/lib/entente --create-home entente
COPY --from=build /entente /usr/local/bin/entente
USER entente
WORKDIR /var/lib/entente
VOLUME /var/lib/entente
EXPOSE 8008 8448
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s CMD curl -fsS http://127.0.0.1:9008/ready
ENTRYPOINT ["entente"]
CMD ["serve"]
