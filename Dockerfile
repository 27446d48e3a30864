# The proxy as an image: the sources as they are, run by the image's own Node 24. No build stage, no PostgreSQL.
FROM node:24-slim

WORKDIR /opt/ringfence
COPY package.json package-lock.json .npmrc ./
# The optional packages are a Node and a PostgreSQL for development.
RUN npm ci --omit=dev --omit=optional && npm cache clean --force
COPY bin ./bin
COPY catalog ./catalog
COPY cli ./cli
COPY config ./config
COPY core ./core
COPY demo ./demo
COPY pool ./pool
COPY proxy ./proxy
COPY rebalancer ./rebalancer
COPY router ./router
COPY wire ./wire
COPY LICENSE README.md ./

ENV NODE_ENV=production \
    RINGFENCE_CONFIG=/etc/ringfence/ringfence.yaml
USER node
EXPOSE 6432 9632
# The port is that of http.port's default; an image with another one brings its own check.
HEALTHCHECK --interval=5s --timeout=3s --start-period=20s --retries=3 \
    CMD ["node", "--eval", "fetch('http://127.0.0.1:9632/livez').then(({ ok }) => process.exit(ok ? 0 : 1), () => process.exit(1))"]
# SIGTERM drains for up to 25 s: stop with a longer grace period than that.
ENTRYPOINT ["/opt/ringfence/bin/ringfence"]
CMD ["serve"]
