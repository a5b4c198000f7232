#!/bin/sh
# Builds libvmsgr and installs it below PREFIX: the header, the shared and the static library, and
# what pkg-config reads. DESTDIR is put before all paths, for who makes a package; VMSGR_LIBRARIES is a
# folder with libraries that are built already.
set -eu

if [ $# -ne 1 ]; then
    echo "usage: $0 PREFIX" >&2
    exit 2
fi
prefix=$1
case $prefix in
/*) ;;
*) prefix=$(pwd)/$prefix ;;
esac
destination=${DESTDIR:-}$prefix
cd "$(dirname "$0")/../.."
built=${VMSGR_LIBRARIES:-}
if [ -z "$built" ]; then
    cargo build --release --locked --package vmsgr
    built=${CARGO_TARGET_DIR:-target}/release
fi
version=$(cargo pkgid --package vmsgr | sed 's/.*[#@]//')

mkdir -p "$destination/include" "$destination/lib/pkgconfig"
install -m 644 messenger/c/vmsgr.h "$destination/include/vmsgr.h"
install -m 644 "$built/libvmsgr.a" "$destination/lib/libvmsgr.a"
install -m 755 "$built/libvmsgr.so" "$destination/lib/libvmsgr.so.$version"
ln -sf "libvmsgr.so.$version" "$destination/lib/libvmsgr.so.0"
ln -sf libvmsgr.so.0 "$destination/lib/libvmsgr.so"
sed -e "s|@prefix@|$prefix|" -e "s|@version@|$version|" messenger/c/vmsgr.pc.in \
    >"$destination/lib/pkgconfig/vmsgr.pc"
