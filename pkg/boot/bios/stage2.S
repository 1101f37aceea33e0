/*
 * Stage 2: loads a Linux kernel and its initrd from the boot disk and enters the kernel.
 *
 * Boot protocol: the 16-bit entry (Documentation/arch/x86/boot.rst), 2.10 or later, so that the kernel itself asks the BIOS
 * for the memory map, the video mode and the disks. Stage 1 gives the drive in %dl and the bytes of a sector in %bx.
 *
 * Memory map (real mode, physical addresses)
 *   0x00600  stage 1, and variables of this program from 0x800
 *   0x01000  usable and reserved ranges, from the BIOS's E820 map
 *   0x06000  the sentence that is being said
 *   0x07000  end of the stack
 *   0x08000  this program, the parameter block behind it, 32 KiB at most
 *   0x10000  the kernel's boot sector and setup, its heap and stack up to 0x1e000
 *   0x20000  command line
 *   0x30000  what was read from the disk, 60 KiB at a time, on its way above 1 MiB
 *   1 MiB -  kernel and initrd, below 4 GiB
 *
 * Parameter block, little-endian; a unit is 512 bytes, whatever the disk's sectors are
 *    0  magic "BwPB"
 *    4  u16  version, 1
 *    6  u16  bytes of the block, command line and its NUL included
 *    8  u32  CRC-32 of the block, with zeros here
 *   12  u16  video mode, for the kernel (`vga=`)
 *   14  u16  number of initrds, 8 at most
 *   16  u32  the initrd lies below this address (`mem=`)
 *   20  u16  where in the block the command line begins; it ends with a NUL
 *   22  u16  zero
 *   24  extents, the kernel's and then the initrds': u64 first unit, u32 bytes, u32 zero
 * An extent is contiguous and may lie within a file. The initrds become one, each on a multiple of four bytes.
 *
 * Assembled to stage2.bin by `make loader`.
 */
        # Block
        .equ    BLOCK_MAGIC, 0x42507742 # "BwPB"
        .equ    BLOCK_VERSION, 1
        .equ    SIZE, 6
        .equ    CHECKSUM, 8
        .equ    VIDEO_MODE, 12
        .equ    INITRDS, 14
        .equ    MEMORY_LIMIT, 16
        .equ    CMDLINE, 20
        .equ    EXTENTS, 24
        .equ    EXTENT_BYTES, 8         # in an extent
        .equ    EXTENT, 16              # bytes of one

        # The kernel's header, in its boot sector
        .equ    SETUP_SECTS, 0x1f1
        .equ    VID_MODE, 0x1fa
        .equ    BOOT_FLAG, 0x1fe
        .equ    HEADER, 0x202
        .equ    PROTOCOL, 0x206
        .equ    TYPE_OF_LOADER, 0x210
        .equ    LOADFLAGS, 0x211
        .equ    CODE32_START, 0x214
        .equ    RAMDISK_IMAGE, 0x218
        .equ    RAMDISK_SIZE, 0x21c
        .equ    HEAP_END_PTR, 0x224
        .equ    CMD_LINE_PTR, 0x228
        .equ    INITRD_ADDR_MAX, 0x22c
        .equ    KERNEL_ALIGNMENT, 0x230
        .equ    RELOCATABLE, 0x234
        .equ    PREF_ADDRESS, 0x258
        .equ    INIT_SIZE, 0x260
        .equ    LOADED_HIGH, 0x01
        .equ    CAN_USE_HEAP, 0x80
        .equ    OLDEST, 0x20a           # the first that says init_size

        # Memory
        .equ    STACK, 0x7000
        .equ    RANGES, 0x1000
        .equ    RANGES_END, 0x6000
        .equ    RANGE, 12               # bytes of one: start, end, kind
        .equ    RANGE_KIND, 8
        .equ    USABLE, 1
        .equ    RESERVED, 2
        .equ    SENTENCE, 0x6000
        .equ    SETUP_SEGMENT, 0x1000
        .equ    SETUP_MOST, 65 * 512    # boot sector and 64 sectors: what boot.rst leaves room for
        .equ    HEAP_END, 0xe000
        .equ    CMDLINE_SEGMENT, 0x2000
        .equ    BUFFER, 0x30000
        .equ    BUFFER_UNITS, 120       # whole sectors of up to 4 KiB, and fewer than 128, which some BIOSes stop at
        .equ    HIGH, 0x100000
        .equ    FOUR_GIB, 0xfffff000    # as far as 32 bits and whole pages go
        .equ    COM1, 0x3f8

        .struct 0x800
VARIABLES:
packet: .struct packet + 16             # of int13; what E820 answers
entry:  .struct entry + 20
drive:  .struct drive + 2
shift:  .struct shift + 2               # from units to sectors
chunk:  .struct chunk + 2               # units to read at a time
a20_probe:
        .struct a20_probe + 2
ranges_end:
        .struct ranges_end + 2
number: .struct number + 16             # the two that a sentence may name
memory: .struct memory + 8              # usable bytes
next_unit:
        .struct next_unit + 8           # to be loaded
left:   .struct left + 4                # bytes to be loaded
to:     .struct to + 4                  # where they go
kernel: .struct kernel + 4              # where it is loaded
initrd: .struct initrd + 4
initrd_bytes:
        .struct initrd_bytes + 4
setup_bytes:
        .struct setup_bytes + 4
status: .struct status + 1              # of int13
VARIABLES_END:

        .code16
        .text
        .globl  _start
_start:
        jmp     begin
        .org    4
        .ascii  "BwS2"
        .word   BLOCK_VERSION
        .word   block - _start          # also the size of stage2.bin

begin:
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $STACK, %sp
        sti
        movw    $VARIABLES, %di
        movw    $(VARIABLES_END - VARIABLES), %cx
        rep stosb
        movb    %dl, drive
        bsfw    %bx, %cx
        subw    $9, %cx
        movw    %cx, shift
        movw    $BUFFER_UNITS, chunk
        call    set_up_serial

        # Is the parameter block what was meant, and whole?
        movw    $bad_block, %si
        cmpl    $BLOCK_MAGIC, block
        jne     fail
        cmpw    $BLOCK_VERSION, block + 4
        jne     fail
        xorl    %edx, %edx
        xchgl   %edx, block + CHECKSUM
        movw    $block, %di
        movw    block + SIZE, %cx
        orl     $-1, %eax
crc_byte:
        xorb    (%di), %al
        incw    %di
        movw    $8, %bx
crc_bit:
        shrl    $1, %eax
        jnc     crc_next
        xorl    $0xedb88320, %eax
crc_next:
        decw    %bx
        jnz     crc_bit
        loop    crc_byte
        notl    %eax
        cmpl    %edx, %eax
        jne     fail

        call    enable_a20
        call    read_map
        movw    $loading, %si
        call    say

        # The kernel's first sectors, and what they say.
        movw    $block + EXTENTS, %si
        call    take_extent
        call    read_chunk
        shrl    $4, %esi
        movw    %si, %ds
        movw    $not_linux, %si
        cmpl    $SETUP_MOST, %eax
        jb      fail
        cmpw    $0xaa55, BOOT_FLAG
        jne     fail
        cmpl    $0x53726448, HEADER     # "HdrS"
        jne     fail
        testb   $LOADED_HIGH, LOADFLAGS
        jz      fail
        movzbl  SETUP_SECTS, %ecx
        cmpb    $64, %cl
        ja      fail
        testb   %cl, %cl
        jnz     1f
        movb    $4, %cl                 # what 0 has always meant
1:      incw    %cx
        shlw    $9, %cx
        movw    $too_old, %si
        cmpw    $OLDEST, PROTOCOL
        jb      fail
        movl    %ecx, %cs:setup_bytes
        pushw   $SETUP_SEGMENT
        popw    %es
        xorw    %si, %si
        xorw    %di, %di
        rep movsb
        xorw    %ax, %ax
        movw    %ax, %ds
        pushw   %es
        popw    %fs                     # the kernel's header, from here on
        movw    %ax, %es

        # Where the kernel goes.
        movl    block + EXTENTS + EXTENT_BYTES, %ebp
        subl    setup_bytes, %ebp       # what of it goes above 1 MiB
        movl    %fs:PREF_ADDRESS, %eax
        cmpb    $0, %fs:RELOCATABLE
        je      fixed
        # It runs where it is loaded, unless that is below its preferred address, and takes init_size there.
        cmpl    %fs:INIT_SIZE, %ebp
        jae     1f
        movl    %fs:INIT_SIZE, %ebp
1:      movl    %fs:KERNEL_ALIGNMENT, %esi
        decl    %esi
up:
        addl    %esi, %eax
        jc      no_kernel_room
        movl    %esi, %ecx
        notl    %ecx
        andl    %ecx, %eax
        movl    %eax, %edx
        addl    %ebp, %edx
        jc      no_kernel_room
        call    conflict
        jnc     place_kernel
        movl    %ecx, %eax
        jmp     up
        # It is loaded to 1 MiB, moves itself to its preferred address, and has all from here to there.
fixed:
        movl    $HIGH, %eax
        addl    %eax, %ebp
        jc      no_kernel_room
        movl    %ebp, %edx
        call    conflict
        jc      no_kernel_room
        movl    %fs:PREF_ADDRESS, %eax
        movl    %eax, %edx
        addl    %fs:INIT_SIZE, %edx
        jc      no_kernel_room
        call    conflict
        jc      no_kernel_room
        movl    $HIGH, %eax
        cmpl    %ebp, %edx
        jae     place_kernel
        movl    %ebp, %edx
place_kernel:
        movl    %eax, kernel
        movl    $RESERVED, %ecx
        call    add_range

        # Where the initrd goes: as high as it fits, which is what boot.rst asks for.
        xorl    %ebp, %ebp
        movw    block + INITRDS, %cx
        movw    $block + EXTENTS + EXTENT, %si
        jcxz    load_kernel
sum:
        addl    EXTENT_BYTES(%si), %ebp
        jc      no_initrd_room
        addl    $4 + 3, %ebp            # for the zeros behind it
        jc      no_initrd_room
        andl    $~3, %ebp
        addw    $EXTENT, %si
        loop    sum
        movl    %fs:INITRD_ADDR_MAX, %edx
        cmpl    $FOUR_GIB, %edx
        jae     1f
        incl    %edx
1:      cmpl    block + MEMORY_LIMIT, %edx
        jbe     down
        movl    block + MEMORY_LIMIT, %edx
down:
        movl    %edx, %eax
        subl    %ebp, %eax
        jc      no_initrd_room
        andl    $~0xfff, %eax
        cmpl    $HIGH, %eax
        jb      no_initrd_room
        leal    (%eax, %ebp), %edx
        call    conflict
        jnc     place_initrd
        movl    %ebx, %edx
        jmp     down
place_initrd:
        movl    %eax, initrd

load_kernel:
        movw    $block + EXTENTS, %si
        call    take_extent
        movl    setup_bytes, %eax
        subl    %eax, left
        shrl    $9, %eax
        addl    %eax, next_unit
        adcl    $0, next_unit + 4
        movl    kernel, %eax
        movl    %eax, to
        call    load

        movl    initrd, %eax
        movl    %eax, to
        movw    block + INITRDS, %cx
        jcxz    enter
load_initrd:
        pushw   %cx
        addw    $EXTENT, %si
        call    take_extent
        call    load
        # The kernel finds an archive behind another one on a multiple of four bytes, with zeros before it.
        movl    to, %edi
        movl    %edi, %eax
        subl    initrd, %eax
        movl    %eax, initrd_bytes
        pushw   %si
        movl    $zeros, %esi
        movl    $4, %ecx
        call    copy
        popw    %si
        movl    to, %eax
        addl    $3, %eax
        andb    $~3, %al
        movl    %eax, to
        popw    %cx
        loop    load_initrd

enter:
        movw    $line_end, %si
        call    say
        pushw   $SETUP_SEGMENT
        popw    %fs
        movw    block + VIDEO_MODE, %ax
        movw    %ax, %fs:VID_MODE
        movb    $0xff, %fs:TYPE_OF_LOADER # one without a number
        orb     $CAN_USE_HEAP, %fs:LOADFLAGS
        movw    $(HEAP_END - 0x200), %fs:HEAP_END_PTR
        movl    kernel, %eax
        movl    %eax, %fs:CODE32_START
        movl    initrd, %eax
        movl    %eax, %fs:RAMDISK_IMAGE
        movl    initrd_bytes, %eax
        movl    %eax, %fs:RAMDISK_SIZE
        movl    $(CMDLINE_SEGMENT << 4), %fs:CMD_LINE_PTR
        movw    block + CMDLINE, %ax
        movw    block + SIZE, %cx
        subw    %ax, %cx
        addw    $block, %ax
        movw    %ax, %si
        xorw    %di, %di
        pushw   $CMDLINE_SEGMENT
        popw    %es
        rep movsb
        cli
        movw    $SETUP_SEGMENT, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %gs
        movw    %ax, %ss
        movw    $HEAP_END, %sp
        ljmp    $(SETUP_SEGMENT + 0x20), $0

no_kernel_room:
        movw    $kernel_room, %si
        movl    %fs:INIT_SIZE, %eax
        addl    %fs:PREF_ADDRESS, %eax
        jmp     fail_for_memory
no_initrd_room:
        movw    $initrd_room, %si
        movl    %ebp, %eax
fail_for_memory:
        # In MiB: what is needed, and what there is; rounded up, because the BIOS keeps some of the last MiB for itself.
        addl    $0xfffff, %eax
        rcrl    $1, %eax
        shrl    $19, %eax
        movl    %eax, number
        movl    memory, %eax
        movl    memory + 4, %edx
        addl    $0xfffff, %eax
        adcl    $0, %edx
        shrdl   $20, %edx, %eax
        movl    %eax, number + 8        # up to 4 EiB

        # Says why not, %si, and stands still: a restart or the next disk would hide it.
fail:
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        pushw   %si
        movw    $SENTENCE, %di
        movw    $cannot_boot, %si
        call    append
        popw    %si
        call    append
        movw    $line_end, %si
        call    append
        call    print
halt:
        hlt
        jmp     halt

        # Says %si.
say:
        movw    $SENTENCE, %di
        call    append

        # Says what was put together until %di: first on the screen, then on COM1, because a BIOS that shows its screen on
        # COM1 as well would mix them letter by letter.
print:
        movb    $0, (%di)
        movw    $SENTENCE, %si
1:      lodsb
        testb   %al, %al
        jz      2f
        pushw   %si
        movb    $0x0e, %ah
        movw    $7, %bx
        int     $0x10
        popw    %si
        jmp     1b
2:      movw    $SENTENCE, %si
3:      lodsb
        testb   %al, %al
        jz      5f
        xchgw   %ax, %bx
        xorw    %cx, %cx                # a port that is not there reads as ready; a stuck one is given up
        movw    $(COM1 + 5), %dx
4:      inb     %dx, %al
        testb   $0x20, %al
        loopz   4b
        xchgw   %ax, %bx
        movw    $COM1, %dx
        outb    %al, %dx
        jmp     3b
5:      ret

        # Puts %si to %di: text, and for bytes 1 and 2 the first and second number.
append:
        lodsb
        testb   %al, %al
        jz      2f
        cmpb    $2, %al
        jbe     1f
        stosb
        jmp     append
1:      cbtw
        shlw    $3, %ax
        addw    $number - 8, %ax
        xchgw   %ax, %bx
        movl    (%bx), %eax
        movl    4(%bx), %edx
        movl    $10, %ebx
        xorw    %cx, %cx
digit:
        pushl   %eax
        movl    %edx, %eax
        xorl    %edx, %edx
        divl    %ebx
        movl    %eax, %ebp              # the quotient's high half
        popl    %eax
        divl    %ebx
        addb    $'0', %dl
        pushw   %dx
        incw    %cx
        movl    %ebp, %edx
        orl     %eax, %ebp
        jnz     digit
3:      popw    %ax
        stosb
        loop    3b
        jmp     append
2:      ret

        # 115200 8N1.
set_up_serial:
        movw    $serial_setup, %si
        movw    $5, %cx
        movb    $(COM1 >> 8), %dh
1:      lodsw
        movb    %al, %dl
        movb    %ah, %al
        outb    %al, %dx
        loop    1b
        ret

        # Reads the BIOS's memory map into the ranges.
read_map:
        movw    $RANGES, ranges_end
        xorl    %ebx, %ebx
1:      movl    $0xe820, %eax
        movl    $0x534d4150, %edx       # "SMAP"
        movl    $20, %ecx
        movw    $entry, %di
        int     $0x15
        jc      2f
        cmpl    $0x534d4150, %eax
        jne     2f
        call    add_entry
        testl   %ebx, %ebx
        jnz     1b
2:      movw    $no_map, %si
        cmpw    $RANGES, ranges_end
        je      fail
        ret

        # Adds an entry of the map; what lies above 4 GiB only counts.
add_entry:
        movl    entry, %eax
        movl    entry + 8, %edx
        movl    entry + 12, %ebp
        movl    entry + 16, %ecx
        cmpl    $USABLE, %ecx
        jne     1f
        addl    %edx, memory
        adcl    %ebp, memory + 4
1:      cmpl    $0, entry + 4
        jne     3f
        addl    %eax, %edx
        adcl    $0, %ebp
        jz      2f
        movl    $FOUR_GIB, %edx
2:      cmpl    %eax, %edx
        jbe     3f

        # Adds %eax to %edx as a range of kind %ecx.
add_range:
        movw    ranges_end, %di
        movw    $no_map, %si
        cmpw    $RANGES_END - RANGE, %di
        ja      fail
        stosl
        movl    %edx, (%di)
        movl    %ecx, 4(%di)
        addw    $RANGE, ranges_end
3:      ret

        # Looks whether all of %eax to %edx may be used. If not, carry is set, and from %ebx to %ecx is what is in the way.
conflict:
        movw    $RANGES, %di
1:      cmpw    ranges_end, %di
        jae     covered
        cmpl    $USABLE, RANGE_KIND(%di)
        je      2f
        movl    (%di), %ebx
        movl    4(%di), %ecx
        cmpl    %edx, %ebx
        jae     2f
        cmpl    %eax, %ecx
        ja      taken
2:      addw    $RANGE, %di
        jmp     1b
        # Nothing reserved is in it; but what no range speaks of is no memory either.
covered:
        movl    %eax, %ebx              # it is usable up to here
3:      orl     $-1, %ecx               # the next usable range behind that
        movw    $RANGES, %di
4:      cmpw    ranges_end, %di
        jae     taken
        cmpl    $USABLE, RANGE_KIND(%di)
        jne     6f
        cmpl    %ebx, (%di)
        ja      5f
        cmpl    4(%di), %ebx
        jae     6f
        movl    4(%di), %ebx
        cmpl    %edx, %ebx
        jb      3b
        ret
5:      cmpl    (%di), %ecx
        jbe     6f
        movl    (%di), %ecx
6:      addw    $RANGE, %di
        jmp     4b
taken:
        stc
        ret

        # Makes the extent %si what is loaded next.
take_extent:
        movl    (%si), %eax
        movl    %eax, next_unit
        movl    4(%si), %eax
        movl    %eax, next_unit + 4
        movl    EXTENT_BYTES(%si), %eax
        movl    %eax, left
        ret

        # Loads all that is left of the extent. Keeps %si.
load:
        pushw   %si
next_chunk:
        cmpl    $0, left
        je      1f
        call    read_chunk
        movl    to, %edi
        movl    %edi, %ebx
        movl    %eax, %ecx
        addl    %eax, to
        call    copy
        xorl    to, %ebx
        shrl    $24, %ebx
        jz      next_chunk
        movw    $dot, %si               # for every 16 MiB, so that nobody takes a slow disk for a dead one
        call    say
        jmp     next_chunk
1:      popw    %si
        ret

        # Reads from the extent into the buffer: %eax bytes, which begin at %esi.
read_chunk:
        movw    shift, %cx
        movl    $1, %ebx
        shll    %cl, %ebx
        decl    %ebx                    # units of a sector, less one
        movl    next_unit, %eax
        movl    next_unit + 4, %edx
        movl    %eax, %ebp
        andl    %ebx, %ebp              # units before the extent in the first sector
        shrdl   %cl, %edx, %eax
        shrl    %cl, %edx
        movl    %eax, packet + 8
        movl    %edx, packet + 12
        movl    left, %edi
        decl    %edi
        shrl    $9, %edi
        incl    %edi                    # units to read
        movzwl  chunk, %eax
        cmpl    %eax, %edi
        jbe     1f
        movl    %eax, %edi
1:      movl    $BUFFER_UNITS, %eax
        subl    %ebp, %eax
        cmpl    %eax, %edi
        jbe     2f
        movl    %eax, %edi
2:      leal    (%edi, %ebp), %eax
        addl    %ebx, %eax
        shrl    %cl, %eax
        movw    $16, packet
        movw    %ax, packet + 2
        movl    $(BUFFER >> 4) << 16, packet + 4
        movw    $packet, %si
        movb    $0x42, %ah
        call    disk
        jnc     3f
        movzbl  status, %eax
        movl    %eax, number
        xorw    %ax, %ax                # resets the drive
        call    disk
        # Less at a time: some BIOSes fail above some size, and the last try is a single unit, the one to blame.
        shrw    $1, chunk
        jnz     read_chunk
        movl    packet + 8, %eax
        movl    %eax, number + 8
        movl    packet + 12, %eax
        movl    %eax, number + 12
        movw    $read_error, %si
        jmp     fail
3:      addl    %edi, next_unit
        adcl    $0, next_unit + 4
        movl    %edi, %eax
        shll    $9, %eax
        cmpl    left, %eax
        jbe     4f
        movl    left, %eax
4:      subl    %eax, left
        shll    $9, %ebp
        leal    BUFFER(%ebp), %esi
        ret

        # int13, which may spoil every register.
disk:
        pushal
        movb    drive, %dl
        int     $0x13
        movb    %ah, status
        popal
        ret

        # Copies %ecx bytes from %esi to %edi, anywhere below 4 GiB: in protected mode, with this segment's code and flat data.
        # Staying there halfway ("unreal mode") is left to those whose BIOS allows it.
copy:
        call    enable_a20              # some BIOSes switch it off when they read a disk
        cli
        lgdt    gdt_register
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmp    $8, $1f
1:      movw    $0x10, %dx
        movw    %dx, %ds
        movw    %dx, %es
        movl    %ecx, %edx
        shrl    $2, %ecx
        addr32 rep movsl
        movl    %edx, %ecx
        andl    $3, %ecx
        addr32 rep movsb
        movw    $0x18, %dx
        movw    %dx, %ds
        movw    %dx, %es
        andb    $~1, %al
        movl    %eax, %cr0
        ljmp    $0, $2f
2:      xorw    %dx, %dx
        movw    %dx, %ds
        movw    %dx, %es
        sti
        ret

        # Lets address line 20 through, by what works first: it may be on, the BIOS, the keyboard controller, port 0x92.
enable_a20:
        pushal
        call    test_a20
        jne     1f
        movw    $0x2401, %ax
        int     $0x15
        call    test_a20
        jne     1f
        call    wait_keyboard
        movb    $0xd1, %al
        outb    %al, $0x64
        call    wait_keyboard
        movb    $0xdf, %al
        outb    %al, $0x60
        call    wait_keyboard
        call    test_a20
        jne     1f
        inb     $0x92, %al
        orb     $2, %al
        andb    $~1, %al                # the other bit resets the machine
        outb    %al, $0x92
        call    test_a20
        movw    $no_a20, %si
        je      fail
1:      popal
        ret
        # Not equal if a word below 1 MiB is another one 1 MiB above.
test_a20:
        movw    $0xffff, %ax
        movw    %ax, %gs
        movw    $1000, %cx
1:      incw    a20_probe
        movw    a20_probe, %ax
        outb    %al, $0x80              # takes a microsecond
        cmpw    %gs:a20_probe + 16, %ax
        loope   1b
        ret
wait_keyboard:
        xorw    %cx, %cx
1:      inb     $0x64, %al
        testb   $2, %al
        loopnz  1b
        ret

        .balign 8
gdt:
        .quad   0
        .quad   0x00009a000000ffff      # 0x08: code, 64 KiB, 16 bits
        .quad   0x00cf92000000ffff      # 0x10: data, 4 GiB
        .quad   0x000092000000ffff      # 0x18: data, 64 KiB: what real mode expects to find
gdt_register:
        .word   gdt_register - gdt - 1
        .long   gdt
zeros:
        .long   0

        # Low byte of a port of COM1, value.
serial_setup:
        .byte   0xfb, 0x80, 0xf8, 1, 0xf9, 0, 0xfb, 3, 0xfc, 3

loading:
        .asciz  "bootwright: loading"
dot:
        .asciz  "."
line_end:
        .asciz  "\r\n"
cannot_boot:
        .asciz  "\r\nbootwright: cannot boot: "
bad_block:
        .asciz  "the checksum of the parameter block is wrong: the disk is damaged or was written in part"
no_a20: .asciz  "address line 20 cannot be switched on"
no_map: .asciz  "the BIOS gives no memory map (int 15h, E820)"
not_linux:
        .asciz  "where the kernel should be is no Linux kernel (bzImage)"
too_old:
        .asciz  "the kernel's boot protocol is older than 2.10"
kernel_room:
        .asciz  "too little memory for the kernel: \1 MiB needed without a hole, \2 MiB present"
initrd_room:
        .asciz  "too little memory for the initrd: \1 MiB needed in one piece beside the kernel, \2 MiB present"
read_error:
        .asciz  "the disk cannot be read: error \1 at sector \2"

        .balign 16
block:
