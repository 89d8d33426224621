# For BSD make and GNU make alike.
.POSIX:

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=
CARGO ?= cargo

BIN = target/release/start_server
MAN = man/start_server.1

all:
	$(CARGO) build --release --locked

check:
	$(CARGO) test --locked

lint:
	$(CARGO) fmt --check
	CLIPPY_CONF_DIR=.ci $(CARGO) clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	if command -v mandoc >/dev/null; then mandoc -T lint -W warning $(MAN); fi
	if command -v groff >/dev/null; then test -z "$$(groff -mdoc -ww -z $(MAN) 2>&1 | tee /dev/stderr)"; fi
	if command -v shellcheck >/dev/null; then shellcheck .ci/run tests/servers/*/run; fi

# Every server of tests/servers that is installed, restarted under load.
check-servers: all
	tests/servers/check

# Beside the others that are installed; OTHERS="ruby=/usr/local/bin/start_server" adds more. Takes minutes.
bench: all
	tests/bench/run $(OTHERS)

# It never builds, so that `sudo make install` leaves nothing of root's in target/.
install:
	@test -x $(BIN) || { echo "run 'make' first: there is no $(BIN)" >&2; exit 1; }
	mkdir -p $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1
	cp $(BIN) $(DESTDIR)$(BINDIR)/start_server.new
	chmod 755 $(DESTDIR)$(BINDIR)/start_server.new
	mv -f $(DESTDIR)$(BINDIR)/start_server.new $(DESTDIR)$(BINDIR)/start_server
	cp $(MAN) $(DESTDIR)$(MANDIR)/man1/start_server.1
	chmod 644 $(DESTDIR)$(MANDIR)/man1/start_server.1

uninstall:
	rm -f $(DESTDIR)$(BINDIR)/start_server $(DESTDIR)$(MANDIR)/man1/start_server.1

# Installs into an empty folder, runs what is there, uninstalls, and finds nothing left.
check-install: all
	rm -rf target/install
	$(MAKE) install DESTDIR=$$PWD/target/install PREFIX=/usr
	target/install/usr/bin/start_server --version
	test -s target/install/usr/share/man/man1/start_server.1
	$(MAKE) uninstall DESTDIR=$$PWD/target/install PREFIX=/usr
	test -z "$$(find target/install -type f)"

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

.PHONY: all check lint check-servers bench install uninstall check-install demo clean
