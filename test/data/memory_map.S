/*
 * A boot sector that gives the machine another memory map, and then starts the boot sector behind it. The map has what real
 * ones have and QEMU's does not: holes that no entry speaks of, reserved ranges that overlap usable ones, and no order.
 */
        .equ    PLACE, 0x9000           # a segment that nobody writes to before the kernel has read the map
        .equ    ENTRY, 20
        .code16
        .globl  _start
_start:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %ss
        movw    $0x7c00, %sp
        movw    $PLACE, %ax
        movw    %ax, %es
        movw    $0x7c00, %si
        xorw    %di, %di
        movw    $512, %cx
        rep movsb
        movl    0x15 * 4, %eax
        movl    %eax, %es:old
        movl    $(PLACE << 16) + handler, 0x15 * 4
        ljmp    $PLACE, $moved
moved:
        sti
        pushw   %cs
        popw    %ds
        movw    $packet, %si
        movb    $0x42, %ah
        int     $0x13
        jc      .
        ljmp    $0, $0x7c00
packet:
        .word   16, 1, 0x7c00, 0
        .quad   1
handler:
        cmpl    $0xe820, %eax
        je      1f
        ljmp    *%cs:old
1:      pushw   %ds
        pushw   %si
        pushw   %cs
        popw    %ds
        movw    %bx, %si
        imulw   $ENTRY, %si
        addw    $map, %si
        movw    $ENTRY, %cx
        pushw   %di
        rep movsb
        popw    %di
        movl    $ENTRY, %ecx
        incl    %ebx
        cmpl    $(map_end - map) / ENTRY, %ebx
        jb      2f
        xorl    %ebx, %ebx
2:      popw    %si
        popw    %ds
        movl    $0x534d4150, %eax
        # The flags are the caller's, on the stack.
        pushw   %bp
        movw    %sp, %bp
        andb    $~1, 6(%bp)
        popw    %bp
        iret
old:    .long   0

        .macro  range from, to, kind
        .quad   \from, \to - \from
        .long   \kind
        .endm
map:
        range   0x06000000, 0x0c000000, 1       # 96 to 192 MiB, of which
        range   0x0bf00000, 0x0bf80000, 2       # a piece below the top, and
        range   0x09000000, 0x09001000, 4       # a page, are not to be used
        range   0x00000000, 0x0009fc00, 1
        range   0x0009fc00, 0x000a0000, 2
        range   0x000f0000, 0x00100000, 2
        range   0x00100000, 0x00f00000, 1       # an ISA hole
        range   0x01000000, 0x01400000, 1       # too small for a kernel
        range   0x01500000, 0x05900000, 1       # 21 to 89 MiB; the kernel goes to 22
        range   0xfffc0000, 0x100000000, 2
map_end:
        .org    510
        .word   0xaa55
