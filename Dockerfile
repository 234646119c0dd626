# The server and the sandbox in one small image; nothing in it runs as root.
FROM python:3.13-slim AS build
WORKDIR /src
COPY requirements.lock ./
RUN python -m venv /opt/veriplex \
 && /opt/veriplex/bin/pip install --no-cache-dir --disable-pip-version-check -r requirements.lock
COPY pyproject.toml README.md LICENSE NOTICE veriplex.py ./
COPY engine engine
COPY adapters adapters
COPY gateway gateway
RUN /opt/veriplex/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps . \
 && /opt/veriplex/bin/pip uninstall --yes --quiet pip

FROM python:3.13-slim
RUN useradd --system --uid 10001 --create-home --home-dir /data veriplex
COPY --from=build /opt/veriplex /opt/veriplex
ENV PATH=/opt/veriplex/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    VERIPLEX_SERVER__HOST=0.0.0.0
USER veriplex
WORKDIR /data
EXPOSE 8025
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["veriplex", "readyz"]
ENTRYPOINT ["veriplex"]
CMD ["serve"]
