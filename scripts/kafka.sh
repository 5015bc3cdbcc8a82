#!/usr/bin/env bash
# A real Apache Kafka on this machine:
#   scripts/kafka.sh start|stop|status [--brokers 1|3] [--registry] [--secure] [--dir FOLDER] [--port FIRST_PORT]
# FOLDER (.kafka in the clone) keeps data, logs and pids, and remembers the number of brokers and their ports.
# Brokers listen on FIRST_PORT (9092) and the ports behind it, their controllers on as many behind those; all on 127.0.0.1.
# With --secure they take TLS with a client certificate, and SASL_SSL with SCRAM-SHA-256 on as many ports behind the controllers';
# nobody but the broker and the user `admin` may do anything before an ACL says so. FOLDER/tls holds the certificates,
# FOLDER/clients what each user shows: NAME.properties and NAME.scram.properties for --kafka-config, admin.java.properties for
# Kafka's own tools (--command-config). Secrets are in these files alone, which their owner alone can read.
# --registry: beside them the schema registry Apicurio, on the port behind all of those, with --secure by TLS; a folder that has one
# keeps it.
# `start` starts every broker that does not run; `stop` ends those that do; `status` exits with 0 if all run.
# Kafka's own tools: java -cp 'FOLDER/jars/*' org.apache.kafka.tools.TopicCommand --bootstrap-server 127.0.0.1:9092 --list
set -euo pipefail

fail() { echo "kafka.sh: $1" >&2; exit "${2:-1}"; }
usage() {
    fail "$1; usage: scripts/kafka.sh start|stop|status [--brokers 1|3] [--registry] [--secure] [--dir FOLDER] [--port FIRST_PORT]" 2
}

command='' brokers='' folder='' port='' registry='' secure=''
while [ $# -gt 0 ]; do
    case "$1" in
        start | stop | status) [ -z "$command" ] || usage "two commands, $command and $1"; command=$1; shift ;;
        --registry) registry=yes; shift ;;
        --brokers | --dir | --port)
            [ -n "${2:-}" ] || usage "$1 needs a value"
            case "$1" in --brokers) brokers=$2 ;; --dir) folder=$2 ;; --port) port=$2 ;; esac
            shift 2 ;;
        --secure) secure=secure; shift ;;
        *) usage "unknown argument $1" ;;
    esac
done
[ -n "$command" ] || usage "no command"
[[ -z "$brokers" || "$brokers" =~ ^[13]$ ]] || usage "--brokers is 1 or 3, not $brokers"
[[ -z "$port" || "$port" =~ ^[1-9][0-9]{0,4}$ && "$port" -ge 1024 && "$port" -le 65526 ]] || usage "--port is 1024 to 65526, not $port"

[ -z "$folder" ] || folder=$(realpath -m -- "$folder")
cd "$(dirname "$0")/.."
folder=${folder:-$PWD/.kafka}
again="scripts/kafka.sh"
[ "$folder" = "$PWD/.kafka" ] || again+=" --dir $folder"

# Seconds until a start has failed, and until a broker that was told to end is killed.
ready_within=120 ended_within=20

. scripts/system.sh
version=$(sed -n 's|.*<kafka.version>\(.*\)</kafka.version>.*|\1|p' scripts/kafka/pom.xml)
jars="$cache/kafka-$version"
registry_version=$(sed -n 's|.*<registry.version>\(.*\)</registry.version>.*|\1|p' scripts/kafka/registry.xml)
registry_jars="$cache/apicurio-registry-$registry_version"

# Java and the jars, fetched once for every clone.
fetch() {
    exec 8>"$jars.lock"
    flock 8
    local missing=()
    command -v java >/dev/null || missing+=(default-jre-headless)
    cmp -s scripts/kafka/pom.xml "$jars/pom.xml" || command -v mvn >/dev/null || missing+=(maven)
    install_packages "${missing[@]}"
    local java
    java=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p')
    [ "${java:-0}" -ge 17 ] || fail "Apache Kafka $version needs Java 17 or newer, and $(command -v java) is ${java:-none}: put a newer one first in PATH"
    if ! cmp -s scripts/kafka/pom.xml "$jars/pom.xml"; then
        echo "fetching Apache Kafka $version into $jars" >&2
        rm -rf "$jars.part" "$jars"
        mvn --quiet --batch-mode --strict-checksums --file scripts/kafka/pom.xml dependency:copy-dependencies \
            -DincludeScope=runtime -DoutputDirectory="$jars.part" >"$jars.log" 2>&1 || {
            tail -n 20 "$jars.log" >&2
            fail "could not fetch Apache Kafka $version; the lines above say why: mend it, and start again"
        }
        cp scripts/kafka/pom.xml "$jars.part/pom.xml"
        mv "$jars.part" "$jars"
        rm "$jars.log"
    fi
    if [ -n "$registry" ] && ! cmp -s scripts/kafka/registry.xml "$registry_jars/registry.xml"; then
        local wanting=()
        command -v mvn >/dev/null || wanting+=(maven)
        command -v curl >/dev/null || wanting+=(curl)
        install_packages "${wanting[@]}"
        echo "fetching Apicurio Registry $registry_version into $registry_jars" >&2
        rm -rf "$registry_jars.part" "$registry_jars"
        mkdir -p "$registry_jars.part"
        # By a plug-in of this age: newer ones ask for the artifact's parent too, which is not where it is. Without a project it marks
        # what it did in the directory where it runs.
        (cd "$registry_jars.part" && exec mvn --quiet --batch-mode --strict-checksums org.apache.maven.plugins:maven-dependency-plugin:2.10:unpack \
            -Dartifact="io.apicurio:apicurio-registry-app:$registry_version:tar.gz:all" -DoutputDirectory="$registry_jars.part") >"$registry_jars.log" 2>&1 || {
            tail -n 20 "$registry_jars.log" >&2
            fail "could not fetch Apicurio Registry $registry_version; the lines above say why: mend it, and start again"
        }
        cp scripts/kafka/registry.xml "$registry_jars.part/registry.xml"
        mv "$registry_jars.part" "$registry_jars"
        rm "$registry_jars.log"
    fi
    exec 8>&-
}

# What the folder remembers, or what the call says. Every broker has a vote as a controller, so their number stays.
recall() {
    local kept_brokers='' kept_port='' kept_secure=$secure
    identity=$(head -c 16 /dev/urandom | base64 | tr '+/' 'AB' | tr -d =)
    [ ! -f "$folder/cluster" ] || read -r kept_brokers kept_port identity kept_secure <"$folder/cluster"
    brokers=${brokers:-${kept_brokers:-1}} port=${port:-${kept_port:-9092}} port_before=${kept_port:-$port}
    [ "$brokers" = "${kept_brokers:-$brokers}" ] ||
        fail "$folder holds a cluster of $kept_brokers: leave out --brokers, or name another folder with --dir" 2
    [ "${secure:-$kept_secure}" = "$kept_secure" ] ||
        fail "$folder holds a cluster without encryption: leave out --secure, or name another folder with --dir" 2
    secure=$kept_secure
}

registry_port() { echo $((port + 3 * brokers)); }
registry_url() { echo "http${secure:+s}://127.0.0.1:$(registry_port)/apis/ccompat/v7"; }
registry_data() { echo "-Dapicurio.datasource.url=jdbc:h2:file:$folder/registry/data"; }
registry_runs() {
    local pid
    pid=$(cat "$folder/registry/pid" 2>/dev/null) && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF -e "$(registry_data)" >/dev/null
}

address() { echo "127.0.0.1:$((port + $1 - 1))"; }
controller() { echo "127.0.0.1:$((port + brokers + $1 - 1))"; }
sasl() { echo "127.0.0.1:$((port + 2 * brokers + $1 - 1))"; }
# Every address that broker $1 listens on.
addresses() { address "$1"; controller "$1"; [ -z "$secure" ] || sasl "$1"; }
pid_of() { cat "$folder/broker-$1/pid" 2>/dev/null; }
# Whether the process of a broker lives. Its pid may be another's by now, so the command line has to name the folder.
runs() {
    local pid
    pid=$(pid_of "$1") && tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF "$folder/broker-$1/server.properties" >/dev/null
}
running() { for ((n = 1; n <= brokers; n++)); do ! runs "$n" || echo "$n"; done; }
bootstrap() { for ((n = 1; n <= brokers; n++)); do "$1" "$n"; done | paste -sd,; }
# What a client has to know.
tell() {
    echo "bootstrap.servers=$(bootstrap address)"
    [ -z "$secure" ] || printf '%s\n' "sasl.bootstrap.servers=$(bootstrap sasl)" "clients=$folder/clients"
    [ -z "$registry" ] || echo "schema.registry.url=$(registry_url)"
}
voters() { for ((n = 1; n <= brokers; n++)); do echo "$n@$(controller "$n")"; done | paste -sd,; }
counted() { [ "$1" -eq 1 ] && echo "1 broker" || echo "$1 brokers"; }

# Users: the one who may do everything, and one for each role of `merit topology acl`.
users=(admin copy operator producer reader auditor restorer)

# Keys, certificates and client files, made once. The clients' get their name when all are whole.
identify() {
    [ ! -d "$folder/clients" ] || return 0
    command -v openssl >/dev/null || install_packages openssl
    local tls="$folder/tls" clients="$folder/clients.part"
    rm -rf "$tls" "$clients"
    (umask 077 && mkdir "$tls" "$clients" && certify 2>"$tls/log" && introduce) ||
        fail "could not make certificates: $(grep -i error "$tls/log" | head -n 1); see $tls/log"
    chmod 700 "$folder"
    mv "$clients" "$folder/clients"
}

# An authority, and a key with a certificate for the brokers and each user.
certify() {
    local key=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes) user
    openssl req -x509 "${key[@]}" -keyout "$tls/ca.key" -out "$tls/ca.pem" -days 3650 -subj "/CN=scripts-kafka" \
        -addext keyUsage=critical,keyCertSign || return
    for user in broker "${users[@]}"; do
        openssl req "${key[@]}" -keyout "$tls/$user.key" -subj "/CN=$user" |
            openssl x509 -req -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -CAcreateserial -days 3650 -out "$tls/$user.pem" \
                -extfile <(echo subjectAltName=IP:127.0.0.1) || return
    done
    cat "$tls/broker.key" "$tls/broker.pem" >"$tls/broker.chain"
    cat "$tls/admin.key" "$tls/admin.pem" >"$tls/admin.chain"
}

# What each user shows, and the passwords that the brokers are to know.
introduce() {
    local user password
    for user in "${users[@]}"; do
        password=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
        printf '%s\n' "security.protocol=SSL" "ssl.ca.location=$tls/ca.pem" "ssl.certificate.location=$tls/$user.pem" \
            "ssl.key.location=$tls/$user.key" >"$clients/$user.properties"
        printf '%s\n' "security.protocol=SASL_SSL" "ssl.ca.location=$tls/ca.pem" "sasl.mechanism=SCRAM-SHA-256" \
            "sasl.username=$user" "sasl.password=$password" >"$clients/$user.scram.properties"
        echo "--add-scram \"SCRAM-SHA-256=[name=$user,password=$password]\"" >>"$tls/users"
    done
    { echo security.protocol=SSL; stores admin; } >"$clients/admin.java.properties"
}

# What user $1 shows and whom it trusts, in the names of Java.
stores() {
    printf '%s\n' "ssl.keystore.type=PEM" "ssl.keystore.location=$folder/tls/$1.chain" \
        "ssl.truststore.type=PEM" "ssl.truststore.location=$folder/tls/ca.pem"
}

# Settings of broker $1 that takes who shows a certificate or knows a password, and lets nobody do what no ACL allows.
secured() {
    cat <<EOF
listeners=SSL://$(address "$1"),SASL_SSL://$(sasl "$1"),CONTROLLER://$(controller "$1")
listener.security.protocol.map=SSL:SSL,SASL_SSL:SASL_SSL,CONTROLLER:SSL
inter.broker.listener.name=SSL
$(stores broker)
ssl.client.auth=required
ssl.principal.mapping.rules=RULE:^CN=([^,]+)\$/\$1/
sasl.enabled.mechanisms=SCRAM-SHA-256
# Who was logged in logs in again after so long: a password that was withdrawn does not let him go on.
connections.max.reauth.ms=5000
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:broker;User:admin
EOF
}

settings() {
    local copies=$((brokers == 1 ? 1 : 3)) in_sync=$((brokers == 1 ? 1 : 2)) missed_within=$((brokers == 1 ? 20000 : 3000))
    cat <<EOF
process.roles=broker,controller
node.id=$1
controller.quorum.voters=$(voters)
controller.listener.names=CONTROLLER
$([ -n "$secure" ] && secured "$1" || echo "listeners=PLAINTEXT://$(address "$1"),CONTROLLER://$(controller "$1")")
log.dirs=data
auto.create.topics.enable=false
default.replication.factor=$copies
min.insync.replicas=$in_sync
unclean.leader.election.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=$copies
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=$copies
transaction.state.log.min.isr=$in_sync
group.initial.rebalance.delay.ms=0
# A record expires by its own time: one of a replay would be gone at once.
log.retention.ms=-1
# One of several that was killed is missed after 3 s, not after 9. One that is alone is missed by none, and where it missed itself it
# would tell its clients that there is no broker.
broker.session.timeout.ms=$missed_within
# One that was killed is let in again once it was missed. It gives up after 60 s by default; this script gives up later.
initial.broker.registration.timeout.ms=$((ready_within * 1000))
broker.heartbeat.interval.ms=500
# 128 MiB by default, more than a small heap has to spare; 32 MiB are 1.2 million keys a pass.
log.cleaner.dedupe.buffer.size=33554432
EOF
}

# Becomes broker $1, whose folder is formatted where it is new. Others wait until then: its command line does not name the folder before.
become() {
    cd "$folder/broker-$1"
    local options=(-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -Dlog4j2.configurationFile="$log4j" -cp "$jars/*")
    if [ ! -f data/meta.properties ]; then
        # In a file, since whoever lists processes sees the arguments.
        local format=(kafka.tools.StorageTool format -t "$identity" -c server.properties)
        if [ -n "$secure" ]; then (umask 077; { echo "${format[@]}"; cat ../tls/users; } >format); format=(@format); fi
        java -Xmx64m "${options[@]}" "${format[@]}"
        rm -f format
    fi
    exec setsid java ${KAFKA_HEAP_OPTS:--Xmx256m} -XX:+ExitOnOutOfMemoryError "${options[@]}" kafka.Kafka "$PWD/server.properties" 9>&-
}

start() {
    local log4j="$PWD/scripts/kafka/log4j2.properties" missing=() begins=() pids=() n log address
    for ((n = 1; n <= brokers; n++)); do
        if runs "$n"; then
            [ "$port" = "$port_before" ] ||
                fail "the brokers of $folder run from port $port_before: leave out --port, or stop them first with $again stop" 2
        else
            missing+=("$n")
        fi
    done
    [ "${#missing[@]}" -gt 0 ] || { echo "$(counted "$brokers") already running"; return; }
    for n in "${missing[@]}"; do
        for address in $(addresses "$n"); do
            ! (exec 3<>"/dev/tcp/${address/://}") 2>/dev/null ||
                fail "port ${address#*:} is taken by another process: end that one, or choose other ports with --port"
        done
    done

    [ -z "$secure" ] || identify
    echo "$brokers $port $identity $secure" >"$folder/cluster.part"
    mv "$folder/cluster.part" "$folder/cluster"
    ln -sfn "$jars" "$folder/jars"
    for n in "${missing[@]}"; do
        mkdir -p "$folder/broker-$n"
        settings "$n" >"$folder/broker-$n/server.properties"
        log="$folder/broker-$n/log"
        touch "$log"
        begins[n]=$(($(stat -c %s "$log") + 1))
        (become "$n") </dev/null >>"$log" 2>&1 &
        pids[n]=$!
        echo "$!" >"$folder/broker-$n/pid"
    done

    local limit=$((SECONDS + ready_within)) waiting=1 how
    while [ "$waiting" -eq 1 ]; do
        waiting=0
        for n in "${missing[@]}"; do
            log="$folder/broker-$n/log" how=''
            ! tail -c "+${begins[n]}" "$log" | grep 'Kafka Server started' >/dev/null || continue
            kill -0 "${pids[n]}" 2>/dev/null || how="ended before it was ready"
            [ "$SECONDS" -lt "$limit" ] || how="is not ready after $ready_within s"
            if [ -n "$how" ]; then
                tail -c "+${begins[n]}" "$log" | grep -v $'^\tat ' | tail -n 20 >&2 || true
                kill -KILL "${pids[@]}" 2>/dev/null || true
                fail "broker $n $how: mend what the end of its log, above, says, and start again; the whole is in $log"
            fi
            waiting=1
        done
        [ "$waiting" -eq 0 ] || sleep 0.2
    done
    echo "$(counted "$brokers") running, data in $folder"
}

become_registry() {
    local listener=(-Dquarkus.http.port="$(registry_port)")
    [ -z "$secure" ] || listener=(-Dquarkus.http.insecure-requests=disabled -Dquarkus.http.ssl-port="$(registry_port)"
        -Dquarkus.http.ssl.certificate.files="$folder/tls/broker.pem" -Dquarkus.http.ssl.certificate.key-files="$folder/tls/broker.key")
    cd "$registry_jars"
    exec setsid java -Xmx256m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError \
        -Dquarkus.http.host=127.0.0.1 "${listener[@]}" -Dquarkus.http.access-log.enabled=false -Dquarkus.log.level=WARN \
        "$(registry_data)" -Dapicurio.datasource.jdbc.initial-size=1 -Dapicurio.datasource.jdbc.min-size=1 \
        -jar "apicurio-registry-app-$registry_version-runner.jar" 9>&-
}

start_registry() {
    ! registry_runs || { echo "schema registry already running"; return; }
    ! (exec 3<>"/dev/tcp/127.0.0.1/$(registry_port)") 2>/dev/null ||
        fail "port $(registry_port) is taken by another process: end that one, or choose other ports with --port"
    mkdir -p "$folder/registry"
    (become_registry) </dev/null >>"$folder/registry/log" 2>&1 &
    local pid=$! limit=$((SECONDS + ready_within)) how='' trust=()
    [ -z "$secure" ] || trust=(--cacert "$folder/tls/ca.pem")
    echo "$pid" >"$folder/registry/pid"
    until curl "${trust[@]}" --silent --fail --max-time 5 --output /dev/null "$(registry_url)/subjects"; do
        kill -0 "$pid" 2>/dev/null || how="ended before it was ready"
        [ "$SECONDS" -lt "$limit" ] || how="is not ready after $ready_within s"
        if [ -n "$how" ]; then
            tail -n 20 "$folder/registry/log" >&2 || true
            kill -KILL "$pid" 2>/dev/null || true
            fail "the schema registry $how: mend what the end of its log, above, says, and start again; the whole is in $folder/registry/log"
        fi
        sleep 0.2
    done
    echo "schema registry running, data in $folder/registry"
}

end_registry() {
    local pid limit=$((SECONDS + ended_within))
    registry_runs || return 0
    pid=$(cat "$folder/registry/pid")
    { kill -TERM "$pid"; kill -CONT "$pid"; } 2>/dev/null || true
    while registry_runs; do
        [ "$SECONDS" -lt "$limit" ] || kill -KILL "$pid" 2>/dev/null || true
        sleep 0.1
    done
    rm -f "$folder/registry/pid"
    echo "schema registry stopped"
}

# Ends the given brokers: tells them all, and kills what has not ended within the limit.
end() {
    local n limit=$((SECONDS + ended_within))
    for n in "$@"; do
        # One that is held by SIGSTOP hears nothing before it goes on.
        ! runs "$n" || { kill -TERM "$(pid_of "$n")"; kill -CONT "$(pid_of "$n")"; } 2>/dev/null || true
    done
    for n in "$@"; do
        while runs "$n"; do
            [ "$SECONDS" -lt "$limit" ] || kill -KILL "$(pid_of "$n")" 2>/dev/null || true
            sleep 0.1
        done
        rm -f "$folder/broker-$n/pid"
    done
}

status() {
    local n all=0
    for ((n = 1; n <= brokers; n++)); do
        if runs "$n"; then
            echo "broker $n  $(address "$n")  pid $(pid_of "$n")  running"
        else
            echo "broker $n  $(address "$n")  not running"
            all=1
        fi
    done
    if [ -n "$registry" ]; then
        if registry_runs; then
            echo "registry  127.0.0.1:$(registry_port)  pid $(cat "$folder/registry/pid")  running"
        else
            echo "registry  127.0.0.1:$(registry_port)  not running"
            all=1
        fi
    fi
    return "$all"
}

[ ! -d "$folder/registry" ] || registry=yes
case "$command" in
    start) fetch; mkdir -p "$folder" ;;
    stop | status)
        if [ ! -f "$folder/cluster" ]; then
            echo "no broker was ever started in $folder; $again start starts one"
            [ "$command" = stop ] && exit 0 || exit 1
        fi ;;
esac
# A start and a stop of one folder wait for each other.
[ "$command" = status ] || { exec 9>"$folder/lock"; flock 9; }
recall
case "$command" in
    start)
        start
        [ -z "$registry" ] || start_registry
        tell ;;
    stop)
        mapfile -t up < <(running)
        end "${up[@]}"
        end_registry
        if [ "${#up[@]}" -eq 0 ]; then echo "no broker running"; else echo "$(counted "${#up[@]}") stopped"; fi ;;
    status) status && tell ;;
esac
