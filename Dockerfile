# A voice in a box, on the CPU.   docker build -t latentspeech .
#   docker run --rm latentspeech speak 你好 -o - > hello.wav
#   docker run --rm -p 127.0.0.1:8071:8071 latentspeech
FROM python:3.12-slim
WORKDIR /app
COPY constraints.txt /app/
RUN pip install --no-cache-dir --index-url https://download.pytorch.org/whl/cpu torch==2.13.0
COPY pyproject.toml LICENSE README.package.md /app/
COPY LICENSES /app/LICENSES
COPY latentspeech /app/latentspeech
RUN pip install --no-cache-dir -c constraints.txt . && latentspeech speak 你好 -o /tmp/hello.wav
RUN useradd --create-home speaker
USER speaker
WORKDIR /home/speaker
EXPOSE 8071
ENTRYPOINT ["latentspeech"]
CMD ["serve", "--host", "0.0.0.0"]
