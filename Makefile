# For BSD make and GNU make alike.
.POSIX:

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=
CARGO ?= cargo

BUILT = $${CARGO_TARGET_DIR:-target}
BIN = $(BUILT)/release/start_server
MAN = man/start_server.1

all:
	$(CARGO) build --release --locked

# For this machine, without a loader and any library, as target/static/start_server: one file to copy anywhere.
# Some musl systems have a compiler that would link with their libc.so all the same.
static:
	@case $$(uname -m) in \
	armv7*) target=armv7-unknown-linux-musleabihf ;; \
	riscv64) target=riscv64gc-unknown-linux-musl ;; \
	*) target=$$(uname -m)-unknown-linux-musl ;; \
	esac; \
	test -d "$$(rustc --print sysroot)/lib/rustlib/$$target/lib" || { \
		echo "make static: rustc has no library for $$target, which 'rustup target add $$target' brings" >&2; \
		exit 1; \
	}; \
	set -ex; \
	RUSTFLAGS="-Ctarget-feature=+crt-static $${RUSTFLAGS-}" \
		$(CARGO) build --release --locked --bin start_server --target $$target; \
	mkdir -p target/static; \
	cp $(BUILT)/$$target/release/start_server target/static/start_server

# Most tests wait for something, so that there are more at a time than processors. In the end nothing may be left in the
# folder for temporary files, nor may a process that was started for a test; of that only Linux tells.
check:
	@echo 'make check: about 90 seconds on two processors, and half a minute more when all is to be built'
	@tmp=$$(mktemp -d /tmp/check.XXXXXX) && chmod 755 "$$tmp" && code=0 && \
	{ RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} TMPDIR=$$tmp $(CARGO) test --locked || code=$$?; } && \
	if grep -ls "WORKER_DIR=$$tmp" /proc/[0-9]*/environ; then echo 'make check: these still run' >&2; code=1; fi && \
	if ! rmdir "$$tmp"; then ls "$$tmp" >&2; rm -rf "$$tmp"; code=1; fi && \
	exit $$code

lint:
	$(CARGO) fmt --check
	CLIPPY_CONF_DIR=.ci $(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	if command -v mandoc >/dev/null; then mandoc -T lint -W warning $(MAN); fi
	if command -v groff >/dev/null; then test -z "$$(groff -mdoc -ww -z $(MAN) 2>&1 | tee /dev/stderr)"; fi
	if command -v shellcheck >/dev/null; then shellcheck .ci/run .ci/services .ci/targets tests/servers/*/run; fi

# Every server of tests/servers that is installed, restarted under load.
check-servers: all
	tests/servers/check

# Beside the others that are installed; OTHERS="ruby=/usr/local/bin/start_server" adds more. Takes minutes.
bench: all
	tests/bench/run $(OTHERS)

# It never builds, so that `sudo make install` leaves nothing of root's in target/. Whatever the umask, everybody may
# run what it installs.
install:
	@test -x $(BIN) || { echo "run 'make' first: there is no $(BIN)" >&2; exit 1; }
	umask 022 && mkdir -p "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1"
	cp $(BIN) "$(DESTDIR)$(BINDIR)/start_server.new"
	chmod 755 "$(DESTDIR)$(BINDIR)/start_server.new"
	mv -f "$(DESTDIR)$(BINDIR)/start_server.new" "$(DESTDIR)$(BINDIR)/start_server"
	cp $(MAN) "$(DESTDIR)$(MANDIR)/man1/start_server.1"
	chmod 644 "$(DESTDIR)$(MANDIR)/man1/start_server.1"

uninstall:
	rm -f "$(DESTDIR)$(BINDIR)/start_server" "$(DESTDIR)$(MANDIR)/man1/start_server.1"

# Installs into an empty folder, runs what is there, uninstalls, and finds nothing left.
INTO = DESTDIR="$$PWD/target/install" PREFIX=/usr MANDIR=/usr/man

check-install: all
	rm -rf target/install
	umask 077 && $(MAKE) install $(INTO)
	target/install/usr/bin/start_server --version
	test -s target/install/usr/man/man1/start_server.1
	test "$$(find target/install -type f | wc -l)" -eq 2
	test -z "$$(find target/install/usr ! -perm -444 -o -type d ! -perm -555)"
	$(MAKE) uninstall $(INTO)
	test -z "$$(find target/install -type f)"

# What is committed, with the crate that it needs, as target/server-starter-VERSION.tar.gz. It builds without a network.
dist:
	rm -rf target/dist target/server-starter-*.tar.gz
	mkdir -p target/dist
	set -e; \
	name=server-starter-$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml); \
	git archive --prefix="$$name/" HEAD | tar -xf - -C target/dist; \
	(cd "target/dist/$$name" && mkdir .cargo && $(CARGO) vendor --locked >.cargo/config.toml); \
	tar -czf "target/$$name.tar.gz" -C target/dist "$$name"

# Unpacks it, and builds and installs with nothing but a compiler.
check-dist: dist
	rm -rf target/unpacked
	mkdir -p target/unpacked/home
	tar -xzf target/server-starter-*.tar.gz -C target/unpacked
	cd target/unpacked/server-starter-* && unset CARGO_TARGET_DIR && \
		CARGO_HOME="$$PWD/../home" CARGO_NET_OFFLINE=true $(MAKE) check-install

PORT ?= 8080

demo:
	$(CARGO) build --release --locked --bins --examples
	@echo
	@echo 'In another terminal, load it and restart it:'
	@echo '    while curl -sS http://127.0.0.1:$(PORT)/; do :; done | uniq -c'
	@echo '    kill -HUP $$(cat target/demo.pid)'
	@echo 'The generation grows, and no request fails. Ctrl-C ends it.'
	@echo
	@exec $(BIN) --port=127.0.0.1:$(PORT) --pid-file=target/demo.pid -- target/release/examples/hello

clean:
	$(CARGO) clean

.PHONY: all static check lint check-servers bench install uninstall check-install dist check-dist demo clean
