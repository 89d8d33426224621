# Keeps Net::Server::SS::PreFork from dropping connections when it is told to finish.
#
# On QUIT, the parent sends each child one HUP to end it gracefully. Two places drop connections then:
# - Net::Server 2.013, Net/Server/PreFork.pm, run_child: the HUP handler exits unless "connected" is set.
#   It is set only after accept() has returned, so a HUP between the two drops the connection. Perl runs
#   handlers between its own operations, so a HUP just before accept() drops the next connection too.
# - Starman 0.4016, Starman/Server.pm, _read_headers: a HUP interrupts sysread, and Starman treats the
#   EINTR as the end of the connection.
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
        # A HUP ends the child while it waits. After that, a HUP is only noted.
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

# A child can miss its HUP while accept() or a fork begins, so it gets another one.
sub coordinate_children {
    my $self = shift;
    my $is_finishing = $self->{server}{max_servers} == 0;
    $self->hup_children if $is_finishing;
    $self->SUPER::coordinate_children(@_);
}

1;
