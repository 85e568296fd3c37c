#!/usr/bin/perl
# A worker in another language, with nothing but a socket: the claim protocol of docs/protocol.md. Its jobs are shell
# scripts, one at a time.
#
#   herosup runner add other --protocol claim --start -- /usr/bin/perl /path/to/claim-worker.pl /path/to/queue/lua
#
# The argument is the folder of the scripts, hero_supervisor/queue/lua.
use strict;
use warnings;
use IO::Select;
use IO::Socket::INET;
use IO::Socket::UNIX;
use POSIX qw(strftime);

my $folder = shift // die "usage: claim-worker.pl FOLDER_OF_SCRIPTS\n";
my ($runner, $namespace) = @ENV{qw(HERO_RUNNER HERO_NAMESPACE)};
my $holder = $ENV{INVOCATION_ID} // die "cannot work: systemd's INVOCATION_ID is missing\n";
my $queue = "$namespace:q:{$runner}";
my @fields = (payload => 1 << 20, timeout => 64);    # what we read of a job, and how long it may be
my ($is_stopping, $word) = (0, $$);    # the word would change after a call without an answer; then we end
$SIG{TERM} = $SIG{INT} = sub { $is_stopping = 1 };

# --- Redis ------------------------------------------------------------------------------------------------------------

sub connect_redis {
    my ($user, $password, $rest) = $ENV{HERO_REDIS_URL} =~ m{^\w+://(?:([^:@]*):([^@]*)@)?(.*)$};
    my $path = $rest =~ m{^/} ? $rest =~ s/\?.*//r : undef;
    my $redis = $path ? IO::Socket::UNIX->new(Peer => $path) : IO::Socket::INET->new(PeerAddr => $rest =~ s{/.*}{}r);
    die "cannot connect to Redis: $!\n" unless $redis;
    command($redis, "AUTH", $user ? ($user) : (), $password) if defined $password;
    return $redis;
}

sub send_command {
    my ($redis, @words) = @_;
    print $redis "*" . @words . "\r\n", map { "\$" . length($_) . "\r\n$_\r\n" } @words;
    $redis->flush;
}

sub answer {
    my ($redis) = @_;
    my $line = <$redis> // die "cannot go on: Redis has closed the connection\n";
    my ($kind, $value) = $line =~ /^(.)(.*)\r\n$/s;
    return $value if $kind eq "+" || $kind eq ":";
    die "$value\n" if $kind eq "-";
    return undef if $value < 0;
    return [map { answer($redis) } 1 .. $value] if $kind eq "*";
    read($redis, my $text, $value + 2) == $value + 2 or die "cannot go on: Redis has closed the connection\n";
    return substr $text, 0, $value;
}

sub command { send_command(@_); return answer($_[0]) }

sub text_of { local (@ARGV, $/) = ("$folder/$_[0].lua"); return <> }

# Call a script: its own text behind that of common.lua. Redis remembers it by its digest, until it is restarted.
my %digests;

sub script {
    my ($redis, $name, @arguments) = @_;
    my @common = ($namespace, strftime("%Y-%m-%dT%H:%M:%SZ", gmtime), rand, $runner);
    for (1, 2) {
        $digests{$name} //= command($redis, "SCRIPT", "LOAD", text_of("common") . text_of($name));
        my $found = eval { command($redis, "EVALSHA", $digests{$name}, 1, "$queue:settings", @common, @arguments) };
        return $found unless $@;
        die $@ unless $@ =~ /^NOSCRIPT/;
        delete $digests{$name};
    }
}

# --- jobs -------------------------------------------------------------------------------------------------------------

# Execute a script; meanwhile say that we live, and hear what we are told. Returns the outcome and its text.
my $is_listening = 0;

sub execute {
    my ($main, $talk, $id, $script, $timeout_s) = @_;
    my $child = open(my $output, "-|") // die "cannot fork: $!\n";
    if (!$child) {
        setpgrp;
        exec "/bin/sh", "-c", $script;
    }
    my ($text, $why, $deadline) = ("", "", time + $timeout_s);
    my $watched = IO::Select->new($output, $talk);
    while ($watched->exists($output)) {
        send_command($talk, "BLPOP", "$queue:control:$holder", 2) unless $is_listening++;
        for my $ready ($watched->can_read(0.2)) {
            if ($ready == $output) {
                $watched->remove($output) unless sysread $output, $text, 65536, length $text;
                next;
            }
            my $told = answer($talk);
            $is_listening = 0;
            $why ||= "cancelled" if $told && $told->[1] eq "cancel $id";
            script($main, "beat", $holder);
        }
        $why ||= "timed out after $timeout_s s" if time >= $deadline;
        $why ||= "released" if $is_stopping;
        kill "KILL", -$child if $why;
    }
    close $output;
    my $status = $?;
    return ("released", "") if $why eq "released";
    return ("error", $why || "exit code " . ($status >> 8)) if $why || $status;
    return ("finished", substr $text, 0, 1 << 20);
}

my ($main, $talk) = (connect_redis(), connect_redis());
my $known = sprintf '{"node":"%s","unit":"%s","boot_id":"%s","instance":%d,"pid":%d}',
    map({ $ENV{$_} // "" } qw(HERO_NODE_ID HERO_UNIT HERO_BOOT_ID)), $ENV{HERO_INSTANCE} // 1, $$;
die "cannot work: this process was taken for dead\n" if script($main, "register", $holder, $known) ne "ok";

my @ended;
my $is_first = 1;
until ($is_stopping && !@ended) {
    my $want = $is_stopping ? 0 : 1;
    my $found = script($main, "exchange", $holder, $want, $is_first, $word, @ended / 4, @ended, @fields);
    die "cannot go on: this process was taken for dead\n" if $found eq "fenced";
    (@ended, $is_first) = ();
    $is_first = 0;
    my ($answers, $jobs, $again_ms) = @$found;
    for my $job (@$jobs) {
        my ($id, $attempt, $payload, $timeout_s) = @$job;
        my ($outcome, $text) = $payload eq "ping" ? ("finished", "pong") : execute($main, $talk, $id, $payload, $timeout_s);
        push @ended, $id, $attempt, $outcome, $text;
    }
    next if @$jobs || $is_stopping;
    my $pause_s = $again_ms ? $again_ms / 1000 - time : 5;
    $pause_s = $pause_s > 5 ? 5 : $pause_s < 0.02 ? 0.02 : $pause_s;
    command($main, "BLPOP", "$queue:wake", $pause_s);
    script($main, "beat", $holder);
}
