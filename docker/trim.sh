#!/bin/sh
# Add the user of the containers to the base image, and delete the programs that install, build, download or change the
# user. The Dockerfile runs this script from /mnt. The names are patterns, and only packages that are installed are purged:
# images of Python have different packages.
set -eu
touch /dev/shm/begun
groupadd --gid 10001 paramshare
useradd --uid 10001 --gid 10001 --home-dir /tmp/home --no-create-home --shell /bin/false paramshare
install -d -o 10001 -g 10001 /data

stdlib=$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
rm -rf "$stdlib/ensurepip" "$stdlib/idlelib" "$stdlib/lib2to3" "$stdlib/test" "$stdlib"/config-3* \
  /usr/local/bin/pip* /usr/local/bin/idle* /usr/local/bin/2to3* /usr/local/bin/[Aa]ctivate* \
  /usr/local/lib/python3.11/site-packages/* /usr/share/python-wheels /etc/pip.conf
python3 -m compileall -q "$stdlib"

rm -f /var/lib/dpkg/info/*.preinst /var/lib/dpkg/info/*.prerm /var/lib/dpkg/info/*.postrm
# A pattern without a match is reported and makes dpkg-query fail.
installed=$(dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' \
  adduser apt bash bsdutils curl debconf debian-archive-keyring debianutils diffutils dpkg e2fsprogs findutils gnupg\* \
  gpg\* grep gzip hostname init-system-helpers libapt-pkg\* libfile-find-rule-perl libgnutls30 libnumber-compare-perl \
  libp11-kit0 libpam-modules libpam-modules-bin libpam-runtime libperl\* libtext-glob-perl libunistring\* login logsave \
  mawk mount ncurses-bin openssl passwd perl perl-base perl-modules-\* python3-distutils python3-lib2to3 \
  python3-pip-whl python3-setuptools-whl python3-venv python3.\*-venv sed sqv sysvinit-utils tar usrmerge util-linux \
  util-linux-extra wget 2> /dev/null | sed -n 's/^installed //p' | sort -u)
# shellcheck disable=SC2086 # a list of names
dpkg --purge --force-all $installed
rm -rf /var/cache/* /var/lib/apt /var/log/* /var/lib/dpkg/info /root/.cache /usr/lib/*-linux-gnu/gconv
# No library that Python needs was in a purged package.
python3 -c 'import bz2, ctypes, curses, hashlib, lzma, readline, sqlite3, ssl, uuid, zlib'
python3 /mnt/date_files.py / /dev/shm/begun
