my $generation = $ENV{SERVER_STARTER_GENERATION};
sub {
    my $env = shift;
    select undef, undef, undef, 0.08 if $env->{PATH_INFO} eq '/slow';
    my $body = sprintf("%-31s\n", "generation $generation pid $$") x 512;
    [200, ['Content-Type' => 'text/plain', 'Content-Length' => length $body], [$body]];
};
