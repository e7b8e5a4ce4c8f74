# The image of the service: what it needs to run, and nothing to build or install with.

FROM python:3.13-slim AS build
WORKDIR /src
COPY setup.cfg pyproject.toml README.md wsgi.py ./
COPY app app
COPY commands commands
COPY schemas schemas
RUN python -m venv --without-pip /opt/slimfaas-jobs \
 && pip --python /opt/slimfaas-jobs/bin/python install --no-cache-dir --compile .

FROM python:3.13-slim
COPY --from=build /opt/slimfaas-jobs /opt/slimfaas-jobs
COPY gunicorn.conf.py /etc/slimfaas-jobs/gunicorn.conf.py
ENV PATH=/opt/slimfaas-jobs/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 5000
# gunicorn is process 1: it passes signals on to its workers and reaps them.
ENTRYPOINT ["gunicorn", "--config", "/etc/slimfaas-jobs/gunicorn.conf.py", "wsgi:app"]
