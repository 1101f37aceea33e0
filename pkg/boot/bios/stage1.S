/*
 * Stage 1: the first 440 bytes of a disk, or of the boot image of a CD. Reads stage 2 and jumps to it.
 *
 * The BIOS loads it to 0x7c00, in whatever segment, and gives the drive in %dl. It moves itself out of the way, to 0x600,
 * because stage 2 may have to be read from the middle of a sector and then begins below 0x8000. What it reads is written into
 * its last 16 bytes by whoever lays out the disk (`tool/formats/src/bios`), in units of 512 bytes whatever the disk's
 * sectors are. Stage 2 gets the drive in %dl and the bytes of a sector in %bx. Memory map: stage2.S.
 *
 * Assembled to stage1.bin by `make loader`.
 */
        .equ    LOADED, 0x7c00
        .equ    HERE, 0x600             # -Ttext
        .equ    STACK, 0x7000
        .equ    PACKET, 0x800           # of int13, or what int13 answers
        .equ    STAGE2, 0x8000
        .equ    STAGE2_MAGIC, 0x32537742 # "BwS2"
        .equ    COM1, 0x3f8
        .equ    TRIES, 5                # a CD may still have to spin up

        .code16
        .text
        .globl  _start
_start:
        cli
        cld
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movw    $STACK, %sp
        movw    $LOADED, %si
        movw    $HERE, %di
        movw    $(end - _start), %cx
        rep movsb
        ljmp    $0, $moved
moved:
        sti
        # The sector's size is the BIOS's word, but for CDs: they have 2048 bytes, and a BIOS may say 512 of its emulation.
        movw    sector_size, %bx
        testw   %bx, %bx
        jnz     sized
        movw    $PACKET, %si
        movw    $26, (%si)
        movb    $0x48, %ah
        int     $0x13
        movw    $512, %bx
        jc      sized
        movw    PACKET + 24, %ax
        leaw    -1(%eax), %cx
        testw   %ax, %cx                # no power of two, or nothing
        jnz     sized
        cmpw    %bx, %ax
        jb      sized
        movw    %ax, %bx
sized:
        # From units of 512 bytes to the disk's sectors.
        bsfw    %bx, %cx
        subw    $9, %cx
        movl    stage2_lba, %eax
        movl    stage2_lba + 4, %esi
        movw    $1, %bp
        shlw    %cl, %bp
        decw    %bp
        movw    %bp, %di                # units of a sector, less one
        andw    %ax, %bp                # units before stage 2 in its first sector
        shrdl   %cl, %esi, %eax
        shrl    %cl, %esi
        movl    %eax, PACKET + 8
        movl    %esi, PACKET + 12
        addw    %bp, %di
        addw    stage2_count, %di
        shrw    %cl, %di
        shlw    $5, %bp                 # units of 512 bytes are 32 paragraphs
        negw    %bp
        addw    $(STAGE2 >> 4), %bp
        movw    $TRIES, %cx
again:
        movw    $PACKET, %si
        movw    $16, (%si)
        movw    %di, 2(%si)             # the BIOS changes it to what it has read
        movw    $0, 4(%si)
        movw    %bp, 6(%si)
        movb    $0x42, %ah
        pushaw
        int     $0x13
        popaw
        jnc     loaded
        xorw    %ax, %ax                # resets the drive
        pushaw
        int     $0x13
        popaw
        loop    again
        # Only now, because some BIOSes read CDs by LBA and deny it.
        movb    $0x41, %ah
        movw    $0x55aa, %bx
        int     $0x13
        movw    $no_lba, %si
        jc      fail
        cmpw    $0xaa55, %bx
        jne     fail
        movw    $read_error, %si
        jmp     fail
loaded:
        cmpl    $STAGE2_MAGIC, STAGE2 + 4
        movw    $no_stage2, %si
        jne     fail
        ljmp    $0, $STAGE2

        # Says why, %si, on the screen and on COM1, and stands still. One after the other: a BIOS that shows its screen on
        # COM1 as well would mix them letter by letter.
fail:
        movw    $to_screen, %bp
        call    sentence
        pushw   %si
        movw    $serial_setup, %si
        movw    $5, %cx
        movb    $(COM1 >> 8), %dh
setup:
        lodsw
        movb    %al, %dl
        movb    %ah, %al
        outb    %al, %dx
        loop    setup
        popw    %si
        movw    $to_serial, %bp
        call    sentence
halt:
        hlt
        jmp     halt

sentence:
        pushw   %si
        movw    $cannot_boot, %si
        call    say
        popw    %si
        pushw   %si
        call    say
        popw    %si
        ret
say:
        lodsb
        testb   %al, %al
        jz      said
        pushaw
        call    *%bp
        popaw
        jmp     say
to_screen:
        movb    $0x0e, %ah
        movw    $7, %bx
        int     $0x10
said:
        ret
to_serial:
        xchgw   %ax, %bx
        xorw    %cx, %cx                # a port that is not there reads as ready; a stuck one is given up
        movw    $(COM1 + 5), %dx
wait:
        inb     %dx, %al
        testb   $0x20, %al
        loopz   wait
        xchgw   %ax, %bx
        movb    $(COM1 & 0xff), %dl
        outb    %al, %dx
        ret

        # 115200 8N1: low byte of a port, value.
serial_setup:
        .byte   0xfb, 0x80, 0xf8, 1, 0xf9, 0, 0xfb, 3, 0xfc, 3

cannot_boot:
        .asciz  "bootwright: cannot boot: "
no_lba: .asciz  "the BIOS reads no LBA from this disk\r\n"
read_error:
        .asciz  "the disk cannot be read\r\n"
no_stage2:
        .asciz  "stage 2 is not on the disk\r\n"

        .org    440 - 16
        .ascii  "BwS1"
stage2_lba:                             # units of 512 bytes
        .quad   0
stage2_count:
        .word   0
sector_size:                            # 0: ask the BIOS
        .word   0
end:
