# The image of the service. It contains what the service needs to run, and no tools to build or install.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/slimfaas-jobs
# Exactly the locked packages, each checked by its hash. They come first, so that a change of our code reuses this layer.
COPY requirements.lock ./
RUN pip --python /opt/slimfaas-jobs/bin/python install --no-cache-dir --no-compile --no-deps --only-binary=:all: \
    --require-hashes -r requirements.lock
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --no-compile --no-deps --only-binary=:all: --require-hashes -r requirements-build.lock
COPY setup.cfg setup.py pyproject.toml README.md LICENSE wsgi.py ./
COPY app app
COPY schemas schemas
COPY slimfaas_jobs slimfaas_jobs
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/slimfaas-jobs/bin/python install --no-cache-dir --no-compile --no-deps --no-index /wheels/*.whl
# The service never imports the client's generated classes and its asyncio twin (docs/adr/0002-raw-json.md). They are larger
# than everything else together.
RUN cd /opt/slimfaas-jobs/lib/python3.*/site-packages/kubernetes \
 && find client/models client/api -name '*.py' ! -name __init__.py -delete \
 && rm -r aio
# The root file system is read-only when the service runs, so Python can't store bytecode then.
RUN /opt/slimfaas-jobs/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/slimfaas-jobs/lib

FROM ${BASE}
# `make image` adds the version and the revision.
LABEL org.opencontainers.image.title="SlimFaas Jobs" \
      org.opencontainers.image.description="Start a Kubernetes Job over HTTP, when its dependencies are ready and a slot is free" \
      org.opencontainers.image.authors="SlimFaas Jobs contributors" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.url="https://github.com/SlimPlanet/slimfaas-jobs" \
      org.opencontainers.image.source="https://github.com/SlimPlanet/slimfaas-jobs" \
      org.opencontainers.image.documentation="https://github.com/SlimPlanet/slimfaas-jobs/tree/main/docs"
# Remove installers and teaching tools, and compile Python's own modules, which the base image ships without bytecode.
RUN rm -rf /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/lib/python3.*/site-packages/pip* \
           /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/idlelib /usr/local/lib/python3.*/tkinter \
           /usr/local/lib/python3.*/turtledemo /usr/local/lib/python3.*/lib2to3 \
 && python -m compileall -q --invalidation-mode unchecked-hash /usr/local/lib/python3.*
COPY --from=build /opt/slimfaas-jobs /opt/slimfaas-jobs
ENV PATH=/opt/slimfaas-jobs/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 5000
# gunicorn runs in process 1: it forwards signals to its workers and reaps them.
ENTRYPOINT ["slimfaas-jobs", "serve"]
