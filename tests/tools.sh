#!/bin/sh
# The tests talk to Kafka with a client that nobody here wrote, too: Debian's kcat. Fetch it where it is
# missing; without root it is unpacked beside the virtual environment.
set -eu
command -v kcat >/dev/null 2>&1 && exit 0
tools=$(dirname "$PYTHON")/kcat
[ -x "$tools/bin/kcat" ] && exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "tests need kcat (https://github.com/edenhill/kcat): install it and run again" >&2
    exit 1
fi
echo "fetching kcat for the tests" >&2
if [ "$(id -u)" = 0 ]; then
    apt-get update -qq >/dev/null && apt-get install -y -qq kcat >/dev/null 2>&1
    exit 0
fi
mkdir -p "$tools/packages" "$tools/bin"
(cd "$tools/packages" && apt-get download -qq kcat librdkafka1 libyajl2 libserdes1 libavro24 libjansson4 >/dev/null)
for package in "$tools"/packages/*.deb; do dpkg -x "$package" "$tools/root"; done
libraries=$(dirname "$(find "$tools/root" -name 'librdkafka.so.1' | head -n 1)")
printf '#!/bin/sh\nLD_LIBRARY_PATH="%s" exec "%s/root/usr/bin/kcat" "$@"\n' "$libraries" "$tools" >"$tools/bin/kcat"
chmod +x "$tools/bin/kcat"
