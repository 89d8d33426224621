use strict;
use warnings;
use POE qw(Component::Server::TCP Filter::Line Filter::Stream Wheel::SocketFactory);
use POSIX ();

my ($inherited) = $ENV{SERVER_STARTER_PORT} =~ /=(\d+)$/;
my $body = sprintf("%-31s\n", "generation $ENV{SERVER_STARTER_GENERATION} pid $$") x 512;

my $server = POE::Component::Server::TCP->new(
    # The component cannot take a socket. It binds one of its own, which is then replaced.
    Address => '127.0.0.1',
    Port    => 0,
    Started => sub {
        my $listener = $_[HEAP]{listener}[POE::Wheel::SocketFactory::MY_SOCKET_HANDLE()];
        POSIX::dup2($inherited, fileno $listener) // die "dup2: $!";
        # POE accepts after select, and meanwhile another generation may have accepted the connection.
        $listener->blocking(0);
    },
    ClientInputFilter  => 'POE::Filter::Line',
    ClientOutputFilter => 'POE::Filter::Stream',
    ClientInput => sub {
        my ($kernel, $heap, $line) = @_[KERNEL, HEAP, ARG0];
        $heap->{path} //= (split ' ', $line)[1];
        $kernel->delay(respond => $heap->{path} eq '/slow' ? 0.08 : 0) if $line eq '';
    },
    InlineStates => {
        respond => sub {
            my ($kernel, $heap) = @_[KERNEL, HEAP];
            $heap->{client}->put("HTTP/1.1 200 OK\r\nContent-Length: " . length($body) . "\r\n\r\n$body");
            $kernel->yield('shutdown');
        },
    },
);

# TERM would end all sessions. A session prevents this only by handling the signal, as this one does.
POE::Session->create(
    inline_states => {
        _start => sub {
            # The alias keeps this session alive as long as the server and its clients.
            $_[KERNEL]->alias_set('leaving');
            $_[KERNEL]->sig(TERM => 'leave');
        },
        leave  => sub {
            $_[KERNEL]->sig_handled;
            $_[KERNEL]->post($server => 'shutdown');
        },
    },
);

POE::Kernel->run;
