;; Sums of 16-bit little-endian words, 16 octets at a time; an odd last octet counts as the lower half of a word. The lanes
;; hold 32 bits, enough for 512 KiB. `wat2wasm --enable-all checksum.wat` makes the octets in arena.ts.
(module
  (import "m" "m" (memory 1 65536))

  ;; $at to $end
  (func (export "s") (param $at i32) (param $end i32) (result i32)
    (local $a v128) (local $b v128) (local $sum i32) (local $stop i32)
    (local.set $stop (i32.sub (local.get $end) (i32.const 32)))
    (block $done (loop $more
      (br_if $done (i32.gt_s (local.get $at) (local.get $stop)))
      (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (v128.load align=1 (local.get $at)))))
      (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (v128.load offset=16 align=1 (local.get $at)))))
      (local.set $at (i32.add (local.get $at) (i32.const 32)))
      (br $more)))
    (local.set $a (i32x4.add (local.get $a) (local.get $b)))
    (local.set $sum (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $a)) (i32x4.extract_lane 1 (local.get $a)))
      (i32.add (i32x4.extract_lane 2 (local.get $a)) (i32x4.extract_lane 3 (local.get $a)))))
    (i32.add (local.get $sum) (call $rest (local.get $at) (local.get $end))))

  ;; $length octets from $at, which are copied to $to in passing
  (func (export "c") (param $to i32) (param $at i32) (param $length i32) (result i32)
    (local $a v128) (local $b v128) (local $x v128) (local $y v128) (local $sum i32) (local $end i32) (local $stop i32)
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (local.set $stop (i32.sub (local.get $end) (i32.const 32)))
    (block $done (loop $more
      (br_if $done (i32.gt_s (local.get $at) (local.get $stop)))
      (local.set $x (v128.load align=1 (local.get $at)))
      (local.set $y (v128.load offset=16 align=1 (local.get $at)))
      (v128.store align=1 (local.get $to) (local.get $x))
      (v128.store offset=16 align=1 (local.get $to) (local.get $y))
      (local.set $a (i32x4.add (local.get $a) (i32x4.extadd_pairwise_i16x8_u (local.get $x))))
      (local.set $b (i32x4.add (local.get $b) (i32x4.extadd_pairwise_i16x8_u (local.get $y))))
      (local.set $at (i32.add (local.get $at) (i32.const 32)))
      (local.set $to (i32.add (local.get $to) (i32.const 32)))
      (br $more)))
    (memory.copy (local.get $to) (local.get $at) (i32.sub (local.get $end) (local.get $at)))
    (local.set $a (i32x4.add (local.get $a) (local.get $b)))
    (local.set $sum (i32.add
      (i32.add (i32x4.extract_lane 0 (local.get $a)) (i32x4.extract_lane 1 (local.get $a)))
      (i32.add (i32x4.extract_lane 2 (local.get $a)) (i32x4.extract_lane 3 (local.get $a)))))
    (i32.add (local.get $sum) (call $rest (local.get $at) (local.get $end))))

  ;; fewer than 32 octets
  (func $rest (param $at i32) (param $end i32) (result i32)
    (local $sum i32) (local $stop i32)
    (local.set $stop (i32.sub (local.get $end) (i32.const 2)))
    (block $done (loop $more
      (br_if $done (i32.gt_s (local.get $at) (local.get $stop)))
      (local.set $sum (i32.add (local.get $sum) (i32.load16_u align=1 (local.get $at))))
      (local.set $at (i32.add (local.get $at) (i32.const 2)))
      (br $more)))
    (if (i32.lt_s (local.get $at) (local.get $end))
      (then (local.set $sum (i32.add (local.get $sum) (i32.load8_u (local.get $at))))))
    (local.get $sum))

  ;; copies without summing
  (func (export "m") (param $to i32) (param $at i32) (param $length i32)
    (memory.copy (local.get $to) (local.get $at) (local.get $length))))
