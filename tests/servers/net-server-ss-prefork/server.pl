package Server;
use strict;
use warnings;
use base 'Net::Server::SS::PreFork';

sub process_request {
    my ($self, $client) = @_;
    my ($path) = (scalar <$client> // return) =~ m{^GET (\S+)};
    while (defined(my $line = <$client>)) {
        last if $line eq "\r\n";
    }
    select undef, undef, undef, 0.08 if $path eq '/slow';
    my $body = sprintf("%-31s\n", "generation $ENV{SERVER_STARTER_GENERATION} pid $$") x 512;
    print $client "HTTP/1.1 200 OK\r\nContent-Length: ", length $body, "\r\n\r\n", $body;
}

__PACKAGE__->run(min_servers => 4, min_spare_servers => 2, max_spare_servers => 4, max_servers => 5);
