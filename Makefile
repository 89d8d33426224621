# This file works with BSD make and with GNU make.
.POSIX:

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/start_server
DESTDIR ?=
CARGO ?= cargo

BUILT = $${CARGO_TARGET_DIR:-target}
BIN = $(BUILT)/release/start_server
MAN = man/start_server.1

all:
	$(CARGO) build --release --locked

# Builds target/static/start_server for this machine: one file without a loader or a library, to be copied anywhere.
# On some musl systems the compiler would link with libc.so without the flag.
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

# Tests wait most of the time, so eight of them run at once. Afterwards no file may be left in the folder for temporary
# files, and no process of a test may be running. The processes are found on Linux only.
check:
	@echo 'make check takes about 90 seconds on two processors, and half a minute more if it has to build everything.'
	@folder=$$(mktemp -d /tmp/check.XXXXXX) || exit 1; \
	chmod 755 "$$folder"; \
	status=0; \
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-8} TMPDIR=$$folder $(CARGO) test --locked || status=1; \
	if grep -ls "WORKER_DIR=$$folder" /proc/[0-9]*/environ; then \
		echo 'make check: these processes are still running' >&2; \
		status=1; \
	fi; \
	if ! rmdir "$$folder"; then \
		ls "$$folder" >&2; \
		rm -rf "$$folder"; \
		status=1; \
	fi; \
	exit $$status

lint:
	$(CARGO) fmt --check
	CLIPPY_CONF_DIR=.ci $(CARGO) clippy --locked --all-targets -- -D warnings
	CLIPPY_CONF_DIR=.ci $(CARGO) clippy --locked --features trace -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --locked --no-deps --quiet
	if command -v mandoc >/dev/null; then mandoc -T lint -W warning $(MAN); fi
	if command -v groff >/dev/null; then test -z "$$(groff -mdoc -ww -z $(MAN) 2>&1 | tee /dev/stderr)"; fi
	if command -v shellcheck >/dev/null; then shellcheck .ci/run .ci/services .ci/targets tests/servers/*/run; fi

# Restarts every installed server of tests/servers under load.
check-servers: all
	tests/servers/check

# Compares with the other programs that are installed; OTHERS="ruby=/usr/local/bin/start_server" adds more. It takes
# four to five minutes.
bench: all
	tests/bench/run $(OTHERS)

# This never builds, so `sudo make install` leaves no file of root in target/. All users may run the installed program,
# whatever the umask is.
install:
	@test -x $(BIN) || { echo "run 'make' first: there is no $(BIN)" >&2; exit 1; }
	umask 022 && mkdir -p "$(DESTDIR)$(BINDIR)" "$(DESTDIR)$(MANDIR)/man1" "$(DESTDIR)$(DOCDIR)"
	cp $(BIN) "$(DESTDIR)$(BINDIR)/start_server.new"
	chmod 755 "$(DESTDIR)$(BINDIR)/start_server.new"
	mv -f "$(DESTDIR)$(BINDIR)/start_server.new" "$(DESTDIR)$(BINDIR)/start_server"
	cp $(MAN) "$(DESTDIR)$(MANDIR)/man1/start_server.1"
	chmod 644 "$(DESTDIR)$(MANDIR)/man1/start_server.1"
	cp -R tests/services/* "$(DESTDIR)$(DOCDIR)"
	for folder in tests/services/*; do \
		chmod -R a+rX "$(DESTDIR)$(DOCDIR)/$${folder##*/}" || exit 1; \
	done

# A folder that contains other files is kept.
uninstall:
	rm -f "$(DESTDIR)$(BINDIR)/start_server" "$(DESTDIR)$(MANDIR)/man1/start_server.1"
	for file in tests/services/*/*; do rm -f "$(DESTDIR)$(DOCDIR)/$${file#tests/services/}"; done
	for folder in tests/services/*; do rmdir "$(DESTDIR)$(DOCDIR)/$${folder##*/}" 2>/dev/null || :; done
	rmdir "$(DESTDIR)$(DOCDIR)" 2>/dev/null || :

# Installs into an empty folder, runs the installed program, uninstalls it, and checks that no file is left.
INTO = DESTDIR="$$PWD/target/install" PREFIX=/usr MANDIR=/usr/man DOCDIR=/usr/doc

check-install: all
	rm -rf target/install
	umask 077 && $(MAKE) install $(INTO)
	target/install/usr/bin/start_server --version
	test -s target/install/usr/man/man1/start_server.1
	cmp tests/services/systemd/app.service target/install/usr/doc/systemd/app.service
	test "$$(find target/install -type f | wc -l)" -eq $$((2 + $$(find tests/services -type f | wc -l)))
	test -z "$$(find target/install/usr ! -perm -444 -o -type d ! -perm -555)"
	$(MAKE) uninstall $(INTO)
	test -z "$$(find target/install -type f)"
	test ! -e target/install/usr/doc

# Makes target/server-starter-VERSION.tar.gz from the last commit and the crates that it needs. It builds without a
# network.
dist:
	rm -rf target/dist target/server-starter-*.tar.gz
	mkdir -p target/dist
	set -e; \
	name=server-starter-$$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml); \
	git archive --prefix="$$name/" HEAD | tar -xf - -C target/dist; \
	(cd "target/dist/$$name" && mkdir .cargo && $(CARGO) vendor --locked >.cargo/config.toml); \
	tar -czf "target/$$name.tar.gz" -C target/dist "$$name"; \
	echo "target/$$name.tar.gz"

# Unpacks the tarball, and builds, tests and installs it without a network.
check-dist: dist
	rm -rf target/unpacked
	mkdir -p target/unpacked/home
	tar -xzf target/server-starter-*.tar.gz -C target/unpacked
	cd target/unpacked/server-starter-* && unset CARGO_TARGET_DIR && \
		export CARGO_HOME="$$PWD/../home" CARGO_NET_OFFLINE=true && $(MAKE) check && $(MAKE) check-install

PORT ?= 8080

# Restarts a small server three times under load. It takes ten seconds, and Ctrl-C ends it earlier.
demo:
	$(CARGO) build --release --locked --bins --examples
	@exec $(BUILT)/release/examples/demo $(BIN) $(BUILT)/release/examples/hello $(PORT)

clean:
	$(CARGO) clean

.PHONY: all static check lint check-servers bench install uninstall check-install dist check-dist demo clean
