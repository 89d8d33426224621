# Net::Server::SS::PreFork without the connections that it drops when it is asked to finish.
#
# A graceful end (QUIT) has the parent send each child a HUP, once.
# - Net::Server 2.013, Net/Server/PreFork.pm, run_child: the HUP handler exits unless "connected" is
#   set, which happens only after accept() has returned: a HUP in between drops the connection. Perl
#   runs handlers between its own operations, so a HUP just before accept() drops the next one, too.
# - Starman 0.4016, Starman/Server.pm, _read_headers: a HUP interrupts sysread, whose EINTR is taken
#   for the end of the connection.
package Net::Server::SS::PreFork;
use strict;
use warnings;
use IO::Select;
use Net::Server::SS::PreFork;
use POSIX qw(SIGHUP SIG_BLOCK SIG_UNBLOCK);

my $hup = POSIX::SigSet->new(SIGHUP);

sub accept {
    my $self = shift;
    my $server = $self->{server};
    my $listener = $server->{sock}[0];
    until ($server->{SigHUPed}) {
        # A HUP ends the child while it waits, and is only noted from then on.
        $server->{connected} = 0;
        IO::Select->new($listener)->can_read;
        $server->{connected} = 1;
        return 1 if $server->{client} = $listener->accept;
    }
    return 0;
}

sub run_client_connection {
    my $self = shift;
    POSIX::sigprocmask(SIG_BLOCK, $hup);
    $self->SUPER::run_client_connection(@_);
    POSIX::sigprocmask(SIG_UNBLOCK, $hup);
}

# A child that slept through its HUP, because accept() or a fork was just beginning, gets another one.
sub coordinate_children {
    my $self = shift;
    my $is_finishing = $self->{server}{max_servers} == 0;
    $self->hup_children if $is_finishing;
    $self->SUPER::coordinate_children(@_);
}

1;
