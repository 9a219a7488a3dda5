# The page and the command line. A CPU:   docker build -t cgidm .
# A GPU of NVIDIA:                        docker build -t cgidm --build-arg TORCH=cu126 .
#   docker run --rm -p 7860:7860 cgidm
#   docker run --rm --gpus all -p 7860:7860 cgidm
#   docker run --rm -v "$PWD:/work" -w /work cgidm cgidm verify evidence.zip
FROM python:3.12-slim

# where the wheels of torch come from: cpu, or cu126 and later for a GPU
ARG TORCH=cpu
ENV PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1

RUN pip install torch torchvision --index-url "https://download.pytorch.org/whl/${TORCH}"

WORKDIR /opt/cgidm
COPY pyproject.toml README.md LICENSE CITATION.cff CHANGELOG.md ./
COPY cgidm ./cgidm
COPY assets ./assets
RUN pip install ".[page,agents,sign,credentials]" && rm -rf /opt/cgidm

# nobody's account: visits lie in /tmp, models in /home/visitor/.cache
RUN useradd --create-home visitor
USER visitor
WORKDIR /home/visitor

EXPOSE 7860
HEALTHCHECK --start-period=120s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:7860/config', timeout=10)"]
CMD ["cgidm", "page", "--host", "0.0.0.0", "--port", "7860"]
