# The image of the service: what it needs to run, and nothing to build or install with.

ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
RUN python -m venv --without-pip /opt/slimfaas-jobs
# Exactly what is written down, each file known by its hash; and first, so that a change of ours builds on it.
COPY requirements.lock ./
RUN pip --python /opt/slimfaas-jobs/bin/python install --no-cache-dir --no-compile --no-deps --only-binary=:all: \
    --require-hashes -r requirements.lock
COPY requirements-build.lock ./
RUN pip install --no-cache-dir --no-compile --no-deps --only-binary=:all: --require-hashes -r requirements-build.lock
COPY setup.cfg pyproject.toml README.md wsgi.py ./
COPY app app
COPY schemas schemas
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/slimfaas-jobs/bin/python install --no-cache-dir --no-compile --no-deps --no-index /wheels/*.whl
# The client's generated classes and its asyncio twin, of which nothing is imported (docs/adr/0002-raw-json.md): they are
# more than all the rest.
RUN cd /opt/slimfaas-jobs/lib/python3.*/site-packages/kubernetes \
 && find client/models client/api -name '*.py' ! -name __init__.py -delete \
 && rm -r aio
# The files can't be written when the service runs, so nothing could be compiled then.
RUN /opt/slimfaas-jobs/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/slimfaas-jobs/lib

FROM ${BASE}
LABEL org.opencontainers.image.title="SlimFaas Jobs" \
      org.opencontainers.image.description="Start a Kubernetes Job over HTTP, when its dependencies are ready and a slot is free" \
      org.opencontainers.image.version="0.1.0"
# Python's own modules come without byte code; nothing installs anything here any more.
RUN rm -rf /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/lib/python3.*/site-packages/pip* \
           /usr/local/lib/python3.*/ensurepip /usr/local/lib/python3.*/idlelib /usr/local/lib/python3.*/tkinter \
           /usr/local/lib/python3.*/turtledemo /usr/local/lib/python3.*/lib2to3 \
 && python -m compileall -q --invalidation-mode unchecked-hash /usr/local/lib/python3.*
COPY --from=build /opt/slimfaas-jobs /opt/slimfaas-jobs
COPY gunicorn.conf.py /etc/slimfaas-jobs/gunicorn.conf.py
ENV PATH=/opt/slimfaas-jobs/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 5000
# gunicorn is process 1: it passes signals on to its workers and reaps them.
ENTRYPOINT ["gunicorn", "--config", "/etc/slimfaas-jobs/gunicorn.conf.py", "wsgi:app"]
