CREATE TABLE "setting" (
  "name" TEXT NOT NULL,
  "value" TEXT NOT NULL,
  PRIMARY KEY ("name")
) STRICT, WITHOUT ROWID;

CREATE TABLE "counter" (
  "name" TEXT NOT NULL,
  "value" INTEGER NOT NULL,
  PRIMARY KEY ("name")
) STRICT, WITHOUT ROWID;

CREATE TABLE "user" (
  "uid" INTEGER NOT NULL,
  "locked_vm_pages" INTEGER NOT NULL,
  PRIMARY KEY ("uid")
) STRICT;

CREATE TABLE "task" (
  "pid" INTEGER NOT NULL,
  "comm" TEXT NOT NULL,
  "uid" INTEGER NOT NULL,
  "caps" INTEGER NOT NULL,
  "cgroup" INTEGER NOT NULL,
  "memlock_soft" INTEGER,
  "memlock_hard" INTEGER,
  "cpu" INTEGER NOT NULL,
  "transient" INTEGER NOT NULL,
  "mlocked_pages" INTEGER NOT NULL,
  "pinned_pages" INTEGER NOT NULL,
  PRIMARY KEY ("pid")
) STRICT;

CREATE TABLE "file" (
  "pid" INTEGER NOT NULL,
  "fd" INTEGER NOT NULL,
  "obj_kind" TEXT NOT NULL,
  "obj_id" INTEGER NOT NULL,
  "fmode" INTEGER NOT NULL,
  "objcg" INTEGER NOT NULL,
  PRIMARY KEY ("pid", "fd")
) STRICT, WITHOUT ROWID;

CREATE TABLE "memcg" (
  "id" INTEGER NOT NULL,
  "parent" INTEGER NOT NULL,
  "name" TEXT NOT NULL,
  "path" TEXT NOT NULL,
  "objcg" INTEGER NOT NULL,
  "max_pages" INTEGER,
  "high_pages" INTEGER,
  "low_pages" INTEGER,
  "min_pages" INTEGER,
  "usage_pages" INTEGER NOT NULL,
  "kernel_pages" INTEGER NOT NULL,
  "peak_pages" INTEGER NOT NULL,
  "slab_reclaimable" INTEGER NOT NULL,
  "slab_unreclaimable" INTEGER NOT NULL,
  "pagetables" INTEGER NOT NULL,
  "percpu" INTEGER NOT NULL,
  "vmalloc" INTEGER NOT NULL,
  "sock" INTEGER NOT NULL,
  "ev_low" INTEGER NOT NULL,
  "ev_high" INTEGER NOT NULL,
  "ev_max" INTEGER NOT NULL,
  "ev_oom" INTEGER NOT NULL,
  "ev_oom_kill" INTEGER NOT NULL,
  "local_low" INTEGER NOT NULL,
  "local_high" INTEGER NOT NULL,
  "local_max" INTEGER NOT NULL,
  "local_oom" INTEGER NOT NULL,
  "local_oom_kill" INTEGER NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE INDEX "memcg_by_parent" ON "memcg" ("parent");

CREATE TABLE "objcg" (
  "id" INTEGER NOT NULL,
  "memcg" INTEGER NOT NULL,
  "nbytes" INTEGER NOT NULL,
  "pages" INTEGER NOT NULL,
  "stock" INTEGER,
  "parked" INTEGER NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE TABLE "alloc" (
  "owner_kind" TEXT NOT NULL,
  "owner_id" INTEGER NOT NULL,
  "label" TEXT NOT NULL,
  "objcg" INTEGER NOT NULL,
  "allocator" TEXT NOT NULL,
  "size" INTEGER NOT NULL,
  "nr" INTEGER NOT NULL,
  "charge" INTEGER NOT NULL,
  PRIMARY KEY ("owner_kind", "owner_id", "label", "objcg")
) STRICT, WITHOUT ROWID;

CREATE TABLE "map" (
  "id" INTEGER NOT NULL,
  "type" INTEGER NOT NULL,
  "name" BLOB NOT NULL,
  "key_size" INTEGER NOT NULL,
  "value_size" INTEGER NOT NULL,
  "max_entries" INTEGER NOT NULL,
  "map_flags" INTEGER NOT NULL,
  "map_extra" INTEGER NOT NULL,
  "ifindex" INTEGER NOT NULL,
  "btf_id" INTEGER NOT NULL,
  "btf_key_type_id" INTEGER NOT NULL,
  "btf_value_type_id" INTEGER NOT NULL,
  "btf_vmlinux_value_type_id" INTEGER NOT NULL,
  "uid" INTEGER NOT NULL,
  "objcg" INTEGER NOT NULL,
  "memlock_pages" INTEGER NOT NULL,
  "nr_elems" INTEGER NOT NULL,
  "seq" INTEGER NOT NULL,
  "frozen" INTEGER NOT NULL,
  "refcnt" INTEGER NOT NULL,
  "usercnt" INTEGER NOT NULL,
  "mappings" INTEGER NOT NULL,
  "fields" TEXT NOT NULL,
  "owner" TEXT NOT NULL,
  "priv" TEXT NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE TABLE "prog" (
  "id" INTEGER NOT NULL,
  "type" INTEGER NOT NULL,
  "name" BLOB NOT NULL,
  "tag" BLOB NOT NULL,
  "insns" BLOB NOT NULL,
  "gpl_compatible" INTEGER NOT NULL,
  "jited_len" INTEGER NOT NULL,
  "pages" INTEGER NOT NULL,
  "load_time" INTEGER NOT NULL,
  "uid" INTEGER NOT NULL,
  "objcg" INTEGER NOT NULL,
  "memlock_pages" INTEGER NOT NULL,
  "btf_id" INTEGER NOT NULL,
  "refcnt" INTEGER NOT NULL,
  "map_ids" TEXT NOT NULL,
  "priv" TEXT NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE TABLE "btf" (
  "id" INTEGER NOT NULL,
  "blob" BLOB NOT NULL,
  "refcnt" INTEGER NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE TABLE "link" (
  "id" INTEGER NOT NULL,
  "type" INTEGER NOT NULL,
  "target" INTEGER NOT NULL,
  "attach_type" INTEGER NOT NULL,
  "prog_id" INTEGER NOT NULL,
  "attached" INTEGER NOT NULL,
  "flags" INTEGER NOT NULL,
  "cookie" INTEGER NOT NULL,
  "name" BLOB NOT NULL,
  "objcg" INTEGER NOT NULL,
  "refcnt" INTEGER NOT NULL,
  "priv" TEXT NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE INDEX "link_by_type_target" ON "link" ("type", "target");

CREATE TABLE "attachment" (
  "hook" TEXT NOT NULL,
  "target" INTEGER NOT NULL,
  "pos" INTEGER NOT NULL,
  "prog_id" INTEGER NOT NULL,
  "link_id" INTEGER NOT NULL,
  "flags" INTEGER NOT NULL,
  PRIMARY KEY ("hook", "target", "pos")
) STRICT, WITHOUT ROWID;

CREATE TABLE "attach_point" (
  "hook" TEXT NOT NULL,
  "target" INTEGER NOT NULL,
  "flags" INTEGER NOT NULL,
  "revision" INTEGER NOT NULL,
  PRIMARY KEY ("hook", "target")
) STRICT, WITHOUT ROWID;

CREATE TABLE "pin" (
  "path" TEXT NOT NULL,
  "parent" TEXT NOT NULL,
  "kind" TEXT NOT NULL,
  "obj_id" INTEGER NOT NULL,
  "ino" INTEGER NOT NULL,
  PRIMARY KEY ("path")
) STRICT, WITHOUT ROWID;

CREATE INDEX "pin_by_parent" ON "pin" ("parent");

CREATE TABLE "sim_object" (
  "id" INTEGER NOT NULL,
  "kind" TEXT NOT NULL,
  "name" TEXT NOT NULL,
  "refcnt" INTEGER NOT NULL,
  "priv" TEXT NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE TABLE "mapping" (
  "id" INTEGER NOT NULL,
  "pid" INTEGER NOT NULL,
  "map_id" INTEGER NOT NULL,
  "start" INTEGER NOT NULL,
  "offset" INTEGER NOT NULL,
  "length" INTEGER NOT NULL,
  "writable" INTEGER NOT NULL,
  "objcg" INTEGER NOT NULL,
  "priv" TEXT NOT NULL,
  PRIMARY KEY ("id")
) STRICT;

CREATE INDEX "mapping_by_pid" ON "mapping" ("pid");

CREATE TABLE "lru_node" (
  "map" INTEGER NOT NULL,
  "node" INTEGER NOT NULL,
  "key" BLOB NOT NULL,
  "kind" INTEGER NOT NULL,
  "cpu" INTEGER NOT NULL,
  "ref" INTEGER NOT NULL,
  "prev" INTEGER NOT NULL,
  "next" INTEGER NOT NULL,
  PRIMARY KEY ("map", "node")
) STRICT, WITHOUT ROWID;

CREATE TABLE "output" (
  "kind" TEXT NOT NULL,
  "ring" INTEGER NOT NULL,
  "seq" INTEGER NOT NULL,
  "data" BLOB NOT NULL,
  PRIMARY KEY ("kind", "ring", "seq")
) STRICT, WITHOUT ROWID;

CREATE TABLE "elem" (
  "map" INTEGER NOT NULL,
  "pos" ANY NOT NULL,
  "key" BLOB NOT NULL,
  "value" BLOB NOT NULL,
  "aux" INTEGER NOT NULL,
  PRIMARY KEY ("map", "pos")
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX "elem_by_key" ON "elem" ("map", "key");
