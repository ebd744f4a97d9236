#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Guards: the filesystem without daemon and tier. Mount options and their
# errors; every byte and name as the lower has it; changes of the lower after
# ttl; files with an ACL; one open file keeps one version; mounting over the lower
# itself; nothing is left after umount and rmmod.
#
# vm: mem=1G timeout=400

. /payload/tests/vm/lib.sh

load_module
mkdir -p /mnt/lower /mnt/a /mnt/b
mount -t tmpfs -o size=300m none /mnt/lower

python3 - <<'END'
import os
os.makedirs('/mnt/lower/dir/sub')
sizes = [0, 1, 4095, 4096, 4097, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 * (1 << 20) + 123, 6 << 20]
for n, size in enumerate(sizes):
    d = ['/mnt/lower', '/mnt/lower/dir', '/mnt/lower/dir/sub'][n % 3]
    with open(f'{d}/file{n}', 'wb') as f:
        f.write(os.urandom(size))
os.symlink('dir/file1', '/mnt/lower/link')
os.makedirs('/mnt/lower/many')
for n in range(300):
    open(f'/mnt/lower/many/{n:06d}-{"x" * (n % 50)}', 'w').close()
END

V=volume=file:///nowhere
fails() {
	local want=$1 text=$2
	shift 2
	run_fails "$text" mount -t blobcache "$@"
	like "$OUTPUT$(dmesg | tail -n 15)" "$want" "... and it says why"
}
fails "volume= is missing" "no volume" /mnt/lower /mnt/a -o ro
fails "mount with -o ro" "immutable, read-write" /mnt/lower /mnt/a -o "$V,consistency=immutable"
fails "not built yet" "lower: volume" /mnt/lower /mnt/a -o ro,volume=lower:x
fails "not of the form" "volume without a scheme" /mnt/lower /mnt/a -o ro,volume=abc
fails "not a duration" "bad ttl" /mnt/lower /mnt/a -o "ro,$V,ttl=3x"
fails "between" "deadline too long" /mnt/lower /mnt/a -o "ro,$V,deadline=100s"
fails "not a path" "bad prefix" /mnt/lower /mnt/a -o "ro,$V,prefix=a/../b"
fails "cannot open" "no lower" /nowhere /mnt/a -o "ro,$V"
fails "not a directory" "lower is a file" /mnt/lower/file0 /mnt/a -o "ro,$V"

run_ok "mount" mount -t blobcache /mnt/lower /mnt/a -o "ro,$V,ttl=500ms,prefix=/p/q/,stale=2h,deadline=10s"
like "$(grep ' /mnt/a ' /proc/mounts)" \
	"blobcache ro,.*$V,prefix=p/q,consistency=close-to-open,on_daemon_loss=lower,ttl=500ms,stale=7200s,deadline=10s,lower_exact=0" \
	"options are shown"
is "$(stat -f -c %t /mnt/a)" 62636163 "f_type"
fails "on a blobcache mount" "blobcache on blobcache" /mnt/a /mnt/b -o "ro,$V"
fails "read-only" "remount read-write" /mnt/a -o remount,rw
run_ok "remount of nothing" mount -o remount,ro /mnt/a
run_fails "create" touch /mnt/a/new
run_fails "no such file" cat /mnt/a/none

cat > /tmp/same.py <<'END'
# Names and attributes once, then all bytes in each way, with a cold page cache
# and, by the first, a warm one.
import mmap, os, sys
a, b = '/mnt/lower', '/mnt/a'
n = 0

def point(good, text):
    global n
    n += 1
    print(('ok' if good else 'not ok'), text, flush=True)

def walk(top):
    out = []
    for d, dirs, files in os.walk(top):
        dirs.sort()
        for name in sorted(dirs + files):
            p = os.path.join(d, name)
            s = os.lstat(p)
            out.append((p[len(top):], s.st_mode, s.st_uid, s.st_gid, s.st_ino, s.st_mtime_ns,
                        s.st_size if not os.path.isdir(p) else 0))
    return out

def by_read(fd, size):
    out = []
    while part := os.read(fd, 300000):
        out.append(part)
    return b''.join(out)

def by_direct(fd, size):
    fd = os.open(f'/proc/self/fd/{fd}', os.O_RDONLY | os.O_DIRECT)
    buf = mmap.mmap(-1, 1 << 20)
    out = b''
    while part := os.readv(fd, [buf]):
        out += buf[:part]
    os.close(fd)
    return out

def by_mmap(fd, size):
    if not size:
        return b''
    with mmap.mmap(fd, size, prot=mmap.PROT_READ) as m:
        return m[:]

def by_sendfile(fd, size):
    r, w = os.pipe()
    out = []
    while left := os.sendfile(w, fd, None, 65536):
        while left:
            out.append(os.read(r, left))
            left -= len(out[-1])
    os.close(r)
    os.close(w)
    return b''.join(out)

def by_pread(fd, size):
    out = [os.pread(fd, 100000, at) for at in range((size // 100000) * 100000, -1, -100000)]
    return b''.join(reversed(out))

names = walk(a)
mine = walk(b)
point(names == mine, 'names and attributes')
for x, y in zip(names, mine):
    if x != y:
        print('#', x, y)
files = [e[0] for e in names if e[1] & 0o170000 == 0o100000 and not e[0].startswith('/many')]

def same(how):
    bad = []
    for name in files:
        with open(a + name, 'rb') as f:
            want = f.read()
        fd = os.open(b + name, os.O_RDONLY)
        if how(fd, os.fstat(fd).st_size) != want:
            bad.append(name)
        os.close(fd)
    return bad

for how in by_read, by_direct, by_mmap, by_sendfile, by_pread:
    with open('/proc/sys/vm/drop_caches', 'w') as f:
        f.write('1')
    bad = same(how)
    point(not bad, f'bytes {how.__name__} {bad}')
bad = same(by_read)
point(not bad, f'bytes from the page cache {bad}')
END
while read -r good text; do
	case $good in
	ok) pass "$text" ;;
	not) nok "${text#ok }" ;;
	*) echo "$good $text" ;;
	esac
done < <(python3 /tmp/same.py)
diag "uptime $(cut -d' ' -f1 /proc/uptime)"
is "$(readlink /mnt/a/link)" dir/file1 "symbolic link"
cmp /mnt/a/link /mnt/lower/dir/file1
ok $? "through the symbolic link"

echo one > /mnt/lower/change
is "$(cat /mnt/a/change)" one "new file"
exec 5< /mnt/a/change 6< /mnt/a/change
read -r line <&5
is "$line" one "open file"
run_ok "mount with a long ttl" mount -t blobcache /mnt/lower /mnt/b -o "ro,$V,ttl=600s"
is "$(stat -c %s /mnt/b/change)" 4 "attributes are shown"
echo twotwo > /mnt/lower/change
is "$(stat -c %s /mnt/b/change)" 4 "and kept for ttl"
run_ok "umount that" umount /mnt/b
pause 0.7
is "$(stat -c %s /mnt/a/change)" 7 "and no longer"
is "$(cat /mnt/a/change)" twotwo "a new open reads the new version"
is "$(cat <&6)" one "an open file keeps its version"
exec 5<&- 6<&-
echo three3 > /mnt/lower/change.new
mv /mnt/lower/change.new /mnt/lower/change
pause 0.7
is "$(cat /mnt/a/change)" three3 "replaced file"
rm /mnt/lower/change
pause 0.7
run_fails "removed file" cat /mnt/a/change

# Mode 644 says that anybody may read it; the ACL excepts one.
echo acl > /mnt/lower/acl
user() { setpriv --reuid "$1" --regid "$1" --clear-groups "${@:2}"; }
run_ok "a user reads" user 1234 cat /mnt/a/acl
run_ok "... until an ACL refuses that" setfacl -m u:1234:--- /mnt/lower/acl
pause 0.7
run_fails "then not" user 1234 cat /mnt/a/acl
run_fails "nor others, who cannot be told apart" user 1235 cat /mnt/a/acl
is "$(stat -c %a /mnt/a/acl)" 600 "mode as far as it holds for all"
run_ok "its owner does" cat /mnt/a/acl
setfacl -b /mnt/lower/acl
pause 0.7
run_ok "and users, once the ACL is gone" user 1234 cat /mnt/a/acl
setfacl -m d:u:1234:rwx /mnt/lower/dir
pause 0.7
run_ok "an ACL for what will be made there refuses nothing" user 1234 ls /mnt/a/dir

python3 - <<'END'
import os, threading
want = open('/mnt/lower/file9', 'rb').read()
bad = []
def run():
    with open('/mnt/a/file9', 'rb') as f:
        if f.read() != want:
            bad.append(1)
os.system('echo 3 > /proc/sys/vm/drop_caches')
ts = [threading.Thread(target=run) for _ in range(8)]
for t in ts: t.start()
for t in ts: t.join()
raise SystemExit(len(bad))
END
ok $? "eight readers at once"

run_ok "mount over the lower itself" mount -t blobcache /mnt/lower /mnt/lower -o "ro,$V"
is "$(stat -f -c %t /mnt/lower)" 62636163 "it is ours that is seen"
run_ok "and it is read" cmp /mnt/lower/file9 /mnt/a/file9
run_ok "umount" umount /mnt/lower
exec 5< /mnt/a/file9
run_fails "umount while a file is open" umount /mnt/a
run_fails "unload while mounted" rmmod blobcache
exec 5<&-
run_ok "umount the other" umount /mnt/a
run_ok "umount the lower" umount /mnt/lower
run_ok "module unloads" unload_module
done_testing
